//! The log beside the packs, as far as it was published when the check began.

use super::Check;
use super::log::Claim;
use crate::anchor::publish::{self, CHECKPOINT, WIDTH};
use crate::app::StartError;
use crate::error::VaultError;
use crate::index::places::LogRow;
use crate::vault::objects::ObjectError;

/// How often the end is looked for that a service publishes anew meanwhile, several times a second.
const TRIES: usize = 20;

/// What was published: the checkpoint, and the entries at the end that do not fill an object. Those are removed when more follow.
pub(super) struct Published {
    pub(super) claim: Claim,
    end: Vec<Vec<u8>>,
}

impl Check<'_> {
    /// Reads what a service may take away while the check goes on.
    pub(super) async fn published(&mut self) -> Result<Option<Published>, VaultError> {
        let remembered = self.keep.store.published()?;
        let mut last = None;
        for _ in 0..TRIES {
            match self.end().await {
                Ok(found) => {
                    self.report.published = found.as_ref().map(|published| published.claim.size);
                    self.is_as_far_as(remembered);
                    return Ok(found);
                }
                Err(error) => last = Some(reachable(error)?),
            }
        }
        last.into_iter().for_each(|error| self.differs("the published log", error.to_string()));
        Ok(None)
    }

    fn is_as_far_as(&mut self, remembered: u64) {
        let size = self.report.published.unwrap_or(0);
        if size < remembered {
            let what = format!("{size} log entries were published, and the index remembers {remembered}");
            self.differs(CHECKPOINT, what);
        }
    }

    async fn end(&self) -> Result<Option<Published>, StartError> {
        let (objects, key) = (&self.keep.objects, &self.keep.log_key);
        let Some((_, checkpoint)) = publish::checkpoint(objects, key).await? else { return Ok(None) };
        let (size, root) = (checkpoint.size, checkpoint.root);
        let end = match size % WIDTH {
            0 => Vec::new(),
            width => publish::part(objects, size / WIDTH, width).await?,
        };
        Ok(Some(Published { claim: Claim { at: CHECKPOINT.to_owned(), size, root }, end }))
    }

    /// Holds entries against the objects that should have them. `entries` begin with an object's first.
    pub(super) async fn published_as(&mut self, published: &Published, entries: &[LogRow]) -> Result<(), VaultError> {
        for some in entries.chunks(WIDTH as usize) {
            let index = some.first().map_or(0, |first| first.position / WIDTH);
            let width = WIDTH.min(published.claim.size.saturating_sub(index * WIDTH));
            let there = match width {
                0 => return Ok(()),
                WIDTH => publish::part(&self.keep.objects, index, width).await,
                _ => Ok(published.end.clone()),
            };
            match there {
                Ok(there) if there.iter().eq(some.iter().take(width as usize).map(|row| &row.entry)) => {}
                Ok(_) => self.differs(publish::name(index, width), "it has other entries than the log of the index"),
                Err(error) => {
                    let error = reachable(error)?;
                    self.differs(publish::name(index, width), error.to_string());
                }
            }
        }
        Ok(())
    }
}

/// What says something of an object; not that the store is out of reach.
fn reachable(error: StartError) -> Result<StartError, VaultError> {
    match error {
        StartError::Object(error @ (ObjectError::S3 { .. } | ObjectError::Refused { .. })) => Err(error.into()),
        error => Ok(error),
    }
}
