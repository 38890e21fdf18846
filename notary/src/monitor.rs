//! Re-reads a whole log, as an auditor does: every entry, every tile, the root that the checkpoint signs and each root that was
//! anchored, in one pass that keeps only the tree's right edge. What does not fit is told by name and place.

#[cfg(feature = "rpc")]
mod anchors;
mod broken;
#[cfg(feature = "rpc")]
mod fetch;
mod parts;
mod walk;

#[cfg(feature = "rpc")]
pub use anchors::{Anchors, Question, anchors};
pub use broken::{Broken, Place};
#[cfg(feature = "rpc")]
pub use fetch::{Source, Stop, reread};
pub use parts::{Part, parts};
pub use walk::{Walk, Walked};
