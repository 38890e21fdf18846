//! What comes in over HL7's own transports.

pub mod ack;
pub mod frame;
pub mod listeners;
pub mod mllp;
