//! What the service tells of itself: metrics (`metrics` are counted where something happens, `gauges` are looked up when somebody
//! asks), traces (`trace`), logs (`log`), and how both leave by OTLP (`export`). None of it holds patient data: labels are words of
//! this program (`&'static str`), and spans have no field that came from outside.

pub mod export;
pub mod gauges;
pub mod log;
pub mod metrics;
pub mod trace;

pub use metrics::Metrics;
