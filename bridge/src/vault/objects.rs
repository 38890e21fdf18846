//! Where sealed objects lie: a directory, or an S3 bucket. Objects are never changed; names are unique by
//! construction. When `put` returns, the object is durable.

use aws_sdk_s3::config::{
    BehaviorVersion, Credentials, Region, RequestChecksumCalculation, ResponseChecksumValidation,
};
use aws_sdk_s3::primitives::ByteStream;
use serde::Deserialize;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// The object store.
#[derive(Debug, Clone)]
pub enum Objects {
    Directory(PathBuf),
    S3(Box<Bucket>),
}

/// A bucket and the client that reaches it.
#[derive(Debug, Clone)]
pub struct Bucket {
    client: aws_sdk_s3::Client,
    name: String,
    prefix: String,
}

/// How to reach an S3 API. Credentials come from the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY,
/// AWS_SESSION_TOKEN), never from the configuration file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct S3Settings {
    pub bucket: String,
    #[serde(default)]
    pub prefix: String,
    /// Any S3-compatible server; AWS itself where absent.
    #[serde(default)]
    pub endpoint: Option<String>,
    #[serde(default = "default_region")]
    pub region: String,
    /// `http://host/bucket/key` instead of `http://bucket.host/key`: most self-hosted servers need it.
    #[serde(default)]
    pub path_style: bool,
}

fn default_region() -> String {
    "us-east-1".to_owned()
}

/// Why an object could not be read or written: which one, and what the store said.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    #[error("object {name}: {source}")]
    Io { name: String, source: std::io::Error },
    #[error("object {name} is not in the store")]
    Missing { name: String },
    #[error("object {name}: the S3 server answered: {what}")]
    S3 { name: String, what: String },
    #[error("S3 credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")]
    Credentials,
}

impl Objects {
    /// A store in a directory, which is made if it is not there.
    pub fn directory(path: &Path) -> Result<Self, ObjectError> {
        std::fs::create_dir_all(path).map_err(|source| io(&path.display().to_string(), source))?;
        Ok(Self::Directory(path.to_owned()))
    }

    /// A store in a bucket, with the credentials of the environment.
    pub fn s3(settings: &S3Settings) -> Result<Self, ObjectError> {
        let variable = |name| std::env::var(name).ok().filter(|v| !v.is_empty());
        let id = variable("AWS_ACCESS_KEY_ID").ok_or(ObjectError::Credentials)?;
        let secret = variable("AWS_SECRET_ACCESS_KEY").ok_or(ObjectError::Credentials)?;
        let credentials = Credentials::new(id, secret, variable("AWS_SESSION_TOKEN"), None, "environment");
        Ok(Self::s3_with(settings, credentials))
    }

    /// A store in a bucket with the given credentials.
    pub fn s3_with(settings: &S3Settings, credentials: Credentials) -> Self {
        let mut config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(settings.region.clone()))
            .credentials_provider(credentials)
            .force_path_style(settings.path_style)
            // Several servers refuse the checksums that the SDK sends by default.
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
        if let Some(endpoint) = &settings.endpoint {
            config = config.endpoint_url(endpoint);
        }
        let client = aws_sdk_s3::Client::from_conf(config.build());
        let prefix = settings.prefix.trim_matches('/');
        let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
        Self::S3(Box::new(Bucket { client, name: settings.bucket.clone(), prefix }))
    }

    /// Where it is, for messages.
    pub fn place(&self) -> String {
        match self {
            Self::Directory(path) => path.display().to_string(),
            Self::S3(bucket) => format!("s3://{}/{}", bucket.name, bucket.prefix),
        }
    }

    /// Writes an object durably.
    pub async fn put(&self, name: &str, bytes: Vec<u8>) -> Result<(), ObjectError> {
        match self {
            Self::Directory(root) => {
                let (path, owned) = (root.join(name), name.to_owned());
                blocking(name, move || write_file(&path, &bytes).map_err(|e| io(&owned, e))).await
            }
            Self::S3(bucket) => bucket.put(name, bytes).await,
        }
    }

    /// Reads part of an object. From a directory it is read on the spot: some kilobytes that mostly lie in the page cache
    /// cost a tenth of what handing them to another thread does.
    pub async fn read(&self, name: &str, offset: u64, length: usize) -> Result<Vec<u8>, ObjectError> {
        match self {
            Self::Directory(root) => read_file(&root.join(name), offset, length).map_err(|e| io(name, e)),
            Self::S3(bucket) => bucket.read(name, offset, length).await,
        }
    }

    /// Reads a whole object.
    pub async fn read_all(&self, name: &str) -> Result<Vec<u8>, ObjectError> {
        match self {
            Self::Directory(root) => {
                let (path, owned) = (root.join(name), name.to_owned());
                blocking(name, move || std::fs::read(&path).map_err(|e| io(&owned, e))).await
            }
            Self::S3(bucket) => bucket.read_all(name).await,
        }
    }

    /// The names of the objects under a prefix, sorted.
    pub async fn list(&self, prefix: &str) -> Result<Vec<String>, ObjectError> {
        match self {
            Self::Directory(root) => {
                let (root, prefix) = (root.clone(), prefix.to_owned());
                blocking("(listing)", move || list_files(&root, &prefix)).await
            }
            Self::S3(bucket) => bucket.list(prefix).await,
        }
    }
}

async fn blocking<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> Result<T, ObjectError> + Send + 'static,
) -> Result<T, ObjectError> {
    let joined = tokio::task::spawn_blocking(work).await;
    joined.unwrap_or_else(|e| Err(io(name, std::io::Error::other(e))))
}

fn io(name: &str, source: std::io::Error) -> ObjectError {
    match source.kind() {
        std::io::ErrorKind::NotFound => ObjectError::Missing { name: name.to_owned() },
        _ => ObjectError::Io { name: name.to_owned(), source },
    }
}

/// Writes beside, syncs, renames, syncs the directory: the name never stands for half an object.
pub(crate) fn write_file(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    if !directory.exists() {
        std::fs::create_dir_all(directory)?;
        sync_directory(directory.parent().unwrap_or(Path::new(".")))?;
    }
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let temporary = PathBuf::from(temporary);
    let written = (|| {
        let mut file = std::fs::File::create(&temporary)?;
        file.write_all(bytes)?;
        file.sync_data()?;
        // A crash here leaves a `.new` file that nothing refers to.
        std::fs::rename(&temporary, path)
    })();
    if written.is_err() {
        // The disk may be full: give the space back. A failure here only leaves the `.new` file.
        let _ = std::fs::remove_file(&temporary);
    }
    written.and_then(|()| sync_directory(directory))
}

fn sync_directory(path: &Path) -> std::io::Result<()> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    std::fs::File::open(path)?.sync_all()
}

fn read_file(path: &Path, offset: u64, length: usize) -> std::io::Result<Vec<u8>> {
    let mut file = std::fs::File::open(path)?;
    file.seek(SeekFrom::Start(offset))?;
    let mut bytes = Vec::new();
    file.take(length as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn list_files(root: &Path, prefix: &str) -> Result<Vec<String>, ObjectError> {
    let folder = root.join(prefix);
    let entries = match std::fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(io(prefix, e)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|e| io(prefix, e))?;
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.path().is_dir() {
            names.extend(list_files(root, &format!("{name}/"))?);
        } else if !name.ends_with(".new") {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

impl Bucket {
    fn key(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    async fn put(&self, name: &str, bytes: Vec<u8>) -> Result<(), ObjectError> {
        let request = self.client.put_object().bucket(&self.name).key(self.key(name));
        request.body(ByteStream::from(bytes)).send().await.map_err(|e| failed(name, e)).map(|_| ())
    }

    async fn read(&self, name: &str, offset: u64, length: usize) -> Result<Vec<u8>, ObjectError> {
        let range = format!("bytes={offset}-{}", offset + length.saturating_sub(1) as u64);
        self.get(name, Some(range)).await
    }

    async fn read_all(&self, name: &str) -> Result<Vec<u8>, ObjectError> {
        self.get(name, None).await
    }

    async fn get(&self, name: &str, range: Option<String>) -> Result<Vec<u8>, ObjectError> {
        let request = self.client.get_object().bucket(&self.name).key(self.key(name)).set_range(range);
        let reply = request.send().await.map_err(|e| match e.as_service_error() {
            Some(service) if service.is_no_such_key() => ObjectError::Missing { name: name.to_owned() },
            _ => failed(name, e),
        })?;
        let body = reply.body.collect().await.map_err(|e| failed(name, e))?;
        Ok(body.to_vec())
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>, ObjectError> {
        let mut names = Vec::new();
        let mut next = None;
        loop {
            let request = self.client.list_objects_v2().bucket(&self.name).prefix(self.key(prefix));
            let page = request.set_continuation_token(next).send().await.map_err(|e| failed(prefix, e))?;
            let keys = page.contents().iter().filter_map(|object| object.key());
            names.extend(keys.map(|key| key.strip_prefix(self.prefix.as_str()).unwrap_or(key).to_owned()));
            next = page.next_continuation_token().map(str::to_owned);
            if next.is_none() {
                return Ok(names);
            }
        }
    }
}

/// The SDK's errors print their causes only in their Debug form; keys and secrets are in none of them.
fn failed<E: std::error::Error>(name: &str, error: E) -> ObjectError {
    let mut what = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        what = format!("{what}: {inner}");
        source = inner.source();
    }
    ObjectError::S3 { name: name.to_owned(), what }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_write_leaves_no_half_object() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a/b");
        write_file(&path, b"one").unwrap();
        assert_eq!(read_file(&path, 1, 9).unwrap(), b"ne");
        // A directory stands where the object should: the rename fails.
        let blocked = directory.path().join("a/c");
        std::fs::create_dir_all(blocked.join("inside")).unwrap();
        assert!(write_file(&blocked, b"two").is_err());
        assert_eq!(list_files(directory.path(), "a/").unwrap(), ["a/b"]);
        assert!(!directory.path().join("a/c.new").exists());
    }
}
