//! Large objects are written in parts, some of them at once.

use super::failure::{Failure, failed};
use super::{Bucket, ObjectError};
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};

/// Parts that are under way at the same time.
const PARTS_AT_ONCE: usize = 4;

impl Bucket {
    /// Writes in parts. When one fails for good, what was sent is given up: parts that nobody completes cost space.
    pub(super) async fn write_parts(&self, name: &str, bytes: Bytes, fence: Option<String>) -> Result<(), Failure> {
        let request = self.client.create_multipart_upload().bucket(&self.settings.bucket).key(self.key(name));
        let begun = request
            .set_checksum_algorithm(self.settings.algorithm())
            .set_server_side_encryption(self.settings.encryption())
            .set_ssekms_key_id(self.settings.sse_kms_key.clone())
            .send()
            .await
            .map_err(|e| failed(name, e))?;
        let upload = begun.upload_id().unwrap_or_default();
        let sent = async { self.complete(name, upload, self.parts(name, upload, &bytes).await?, fence).await };
        let sent = sent.await;
        if sent.is_err() {
            let abort = self.client.abort_multipart_upload().bucket(&self.settings.bucket).key(self.key(name));
            if let Err(error) = abort.upload_id(upload).send().await.map_err(|e| ObjectError::from(failed(name, e))) {
                // It may have been completed. If not, the bucket's rule for incomplete uploads removes it.
                tracing::debug!(%error, "an upload in parts could not be given up");
            }
        }
        match sent {
            // The answer to an earlier attempt was lost.
            Err(Failure::NoUpload(_)) => Ok(self.same(name, &bytes).await?),
            sent => sent,
        }
    }

    async fn parts(&self, name: &str, upload: &str, bytes: &Bytes) -> Result<Vec<CompletedPart>, Failure> {
        let length = self.bounds.part_bytes;
        let parts = (0..bytes.len().div_ceil(length)).map(|n| {
            let part = bytes.slice(n * length..((n + 1) * length).min(bytes.len()));
            // S3 counts from 1; a pack is far below 10,000 parts.
            self.part(name, upload, n as i32 + 1, part)
        });
        stream::iter(parts).buffered(PARTS_AT_ONCE).try_collect().await
    }

    async fn part(&self, name: &str, upload: &str, number: i32, bytes: Bytes) -> Result<CompletedPart, Failure> {
        let request = self.client.upload_part().bucket(&self.settings.bucket).key(self.key(name)).upload_id(upload);
        let request = request.part_number(number).set_checksum_algorithm(self.settings.algorithm());
        let sent = request.body(ByteStream::from(bytes)).send().await.map_err(|e| failed(name, e))?;
        Ok(CompletedPart::builder()
            .part_number(number)
            .set_e_tag(sent.e_tag)
            .set_checksum_crc32_c(sent.checksum_crc32_c)
            .set_checksum_sha256(sent.checksum_sha256)
            .build())
    }

    async fn complete(
        &self,
        name: &str,
        upload: &str,
        parts: Vec<CompletedPart>,
        fence: Option<String>,
    ) -> Result<(), Failure> {
        let parts = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
        let request = self.client.complete_multipart_upload().bucket(&self.settings.bucket).key(self.key(name));
        let request = request.upload_id(upload).multipart_upload(parts).set_if_none_match(fence);
        request.send().await.map_err(|e| failed(name, e)).map(|_| ())
    }
}
