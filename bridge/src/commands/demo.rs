//! `medseal demo`: a first minute.
use super::Failed;
/// placeholder until the rest compiles
pub async fn run(_once: bool) -> Result<(), Failed> {
    Ok(())
}
