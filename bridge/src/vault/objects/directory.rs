//! Objects as files: written beside, synced, renamed, the directory synced.

use super::{Found, ObjectError, io};
use std::collections::BinaryHeap;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// Writes beside, syncs, renames, syncs the directory: the name never stands for half an object.
pub(super) fn write_file(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    make_directory(directory, &mut std::fs::DirBuilder::new())?;
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

/// Writes a file whose name nobody else uses and nothing refers to yet: one that a power cut cut short is found out by its end,
/// and a second name would cost a second sync.
pub(super) fn write_new(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    make_directory(directory, &mut std::fs::DirBuilder::new())?;
    let written = (|| {
        let mut file = std::fs::File::create(path)?;
        file.write_all(bytes)?;
        file.sync_data()
    })();
    if written.is_err() {
        // As above.
        let _ = std::fs::remove_file(path);
    }
    written.and_then(|()| sync_directory(directory))
}

/// Makes a directory and those that it lies in, durably: a name stands when the directory that it lies in is synced.
pub fn make_directory(path: &Path, builder: &mut std::fs::DirBuilder) -> std::io::Result<()> {
    let missing = path.ancestors().take_while(|path| !path.as_os_str().is_empty() && !path.exists());
    let parents: Vec<_> = missing.filter_map(Path::parent).collect();
    if parents.is_empty() {
        return Ok(());
    }
    builder.recursive(true).create(path)?;
    parents.into_iter().try_for_each(sync_directory)
}

fn sync_directory(path: &Path) -> std::io::Result<()> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    std::fs::File::open(path)?.sync_all()
}

/// Reads exactly so many bytes.
pub(super) fn read_file(root: &Path, name: &str, offset: u64, length: usize) -> Result<Vec<u8>, ObjectError> {
    let read = || {
        let mut file = std::fs::File::open(root.join(name))?;
        file.seek(SeekFrom::Start(offset))?;
        let mut bytes = Vec::with_capacity(length);
        file.take(length as u64).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().map_err(|e| io(name, e))?;
    if bytes.len() == length { Ok(bytes) } else { Err(ObjectError::Short { name: name.to_owned() }) }
}

/// Removes a file; one that is not there is removed.
pub(super) fn remove_file(root: &Path, name: &str) -> Result<(), ObjectError> {
    let path = root.join(name);
    match std::fs::remove_file(&path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(io(name, e)),
        Ok(()) => sync_directory(path.parent().unwrap_or(Path::new("."))).map_err(|e| io(name, e)),
    }
}

/// The first files of a folder by name, after a name. The folder is walked for each page: memory stays that of one page.
pub(super) fn list_page(root: &Path, folder: &str, after: &str, limit: usize) -> Result<Vec<Found>, ObjectError> {
    let entries = match std::fs::read_dir(root.join(folder)) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(io(folder, e)),
    };
    let mut first = BinaryHeap::new();
    for entry in entries {
        let entry = entry.map_err(|e| io(folder, e))?;
        let name = format!("{folder}{}", entry.file_name().to_string_lossy());
        let is_file = entry.file_type().is_ok_and(|t| t.is_file());
        if is_file && !name.ends_with(".new") && name.as_str() > after {
            first.push(name);
            if first.len() > limit {
                first.pop();
            }
        }
    }
    first.into_sorted_vec().into_iter().filter_map(|name| found(root, name).transpose()).collect()
}

/// Nothing for a file that went while the folder was walked.
pub(super) fn found(root: &Path, name: String) -> Result<Option<Found>, ObjectError> {
    let metadata = match std::fs::metadata(root.join(&name)) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        metadata => metadata.map_err(|e| io(&name, e))?,
    };
    let changed = metadata.modified().map_err(|e| io(&name, e))?;
    let changed = changed.duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64);
    Ok(Some(Found { name, length: metadata.len(), changed }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_write_leaves_no_half_object() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        write_file(&root.join("a/b"), b"one").unwrap();
        assert_eq!(read_file(root, "a/b", 1, 2).unwrap(), b"ne");
        assert!(
            matches!(read_file(root, "a/b", 1, 9), Err(ObjectError::Short { .. })),
            "never less than was asked for"
        );
        // A directory stands where the object should: the rename fails.
        let blocked = root.join("a/c");
        std::fs::create_dir_all(blocked.join("inside")).unwrap();
        assert!(write_file(&blocked, b"two").is_err());
        let names: Vec<_> = list_page(root, "a/", "", 9).unwrap().into_iter().map(|f| f.name).collect();
        assert_eq!(names, ["a/b"]);
        assert!(!root.join("a/c.new").exists());
    }

    #[test]
    fn a_folder_is_listed_page_by_page() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["a/3", "a/1", "a/2", "a/4"] {
            write_file(&directory.path().join(name), name.as_bytes()).unwrap();
        }
        let page = |after: &str| {
            let found = list_page(directory.path(), "a/", after, 3).unwrap();
            found.into_iter().map(|f| f.name).collect::<Vec<_>>()
        };
        assert_eq!(page(""), ["a/1", "a/2", "a/3"]);
        assert_eq!(page("a/3"), ["a/4"]);
        remove_file(directory.path(), "a/4").unwrap();
        remove_file(directory.path(), "a/4").unwrap();
        assert!(page("a/3").is_empty());
    }
}
