//! Seals resources and keeps them. Nothing leaves this module unsealed.

pub mod keys;
pub mod kms;
pub mod objects;
pub mod pack;
pub mod roots;
pub mod seal;
