//! What became of a request, and whose fault it is.

use crate::vault::objects::ObjectError;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};

/// What became of a request, where more can be done about it than to tell.
pub(super) enum Failure {
    /// A conditional write found the name taken.
    Exists,
    Conflict(ObjectError),
    /// The upload in parts is not there: given up, or completed.
    NoUpload(ObjectError),
    Other(ObjectError),
}

impl From<ObjectError> for Failure {
    fn from(error: ObjectError) -> Self {
        Self::Other(error)
    }
}

impl From<Failure> for ObjectError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Exists => Self::Taken { name: "(unnamed)".to_owned() },
            Failure::Conflict(error) | Failure::NoUpload(error) | Failure::Other(error) => error,
        }
    }
}

/// Whose fault it is. The SDK's errors print their causes only in their Debug form; keys and secrets are in none of them.
pub(super) fn failed<E>(name: &str, error: SdkError<E>) -> Failure
where
    E: std::error::Error + ProvideErrorMetadata + 'static,
{
    let status = error.raw_response().map_or(0, |r| r.status().as_u16());
    let code = error.code().unwrap_or_default().to_owned();
    let (name, what) = (name.to_owned(), told(&error));
    match (status, code.as_str()) {
        (412, _) => Failure::Exists,
        (409, _) => Failure::Conflict(ObjectError::S3 { name, what }),
        (404, "NoSuchUpload") => Failure::NoUpload(ObjectError::S3 { name, what }),
        (404, "NoSuchKey") => ObjectError::Missing { name }.into(),
        (416, _) => ObjectError::Short { name }.into(),
        (408 | 429, _) => ObjectError::S3 { name, what }.into(),
        (400, "RequestTimeout") => ObjectError::S3 { name, what }.into(),
        (400..=499, _) => ObjectError::Refused { name, what }.into(),
        _ => ObjectError::S3 { name, what }.into(),
    }
}

/// Whether a body came whole and is not what was stored under its name. Asking again may tell a fault of the way from one of the
/// object.
pub(super) fn is_damage(error: &(dyn std::error::Error + 'static)) -> bool {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.into_iter().any(|error| error.is::<aws_smithy_checksums::body::validate::Error>())
}

/// An error with its causes.
pub(super) fn told(error: &dyn std::error::Error) -> String {
    let mut what = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        what = format!("{what}: {inner}");
        source = inner.source();
    }
    what
}
