//! SQLite's write-ahead log is put into its file beside the committer: in a commit, all who wait for it would wait for that, too.

use super::Core;
use crate::read::in_background;
use std::sync::Arc;
use std::time::Duration;

/// At full load some 40 MB are written between two times: pages that are written again and again meanwhile go into the file once.
const EVERY: Duration = Duration::from_secs(1);

/// Until it is cut short.
pub(super) async fn run(core: Arc<Core>) {
    let mut failing = false;
    while !core.store.is_shared() {
        tokio::time::sleep(EVERY).await;
        let store = core.store.clone();
        let done = in_background(move || store.put_log_away()).await;
        if let Err(error) = &done
            && !failing
        {
            tracing::warn!(%error, "the write-ahead log was not put into the index: it grows until that can be done");
        }
        failing = done.is_err();
    }
}
