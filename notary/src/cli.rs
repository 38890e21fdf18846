//! The command line. What is checked, and how, stands in the library.

mod bar;
mod files;
mod judge;
#[cfg(feature = "rpc")]
pub mod log;
pub mod many;
#[cfg(feature = "rpc")]
mod nodes;
pub mod one;
pub mod say;
mod show;
mod source;
mod summary;
