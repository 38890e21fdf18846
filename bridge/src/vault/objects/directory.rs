//! Objects as files: written beside, synced, renamed, the directory synced.

use super::{Found, ObjectError, io};
use std::collections::{BTreeSet, BinaryHeap};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// How a file is opened that is its owner's alone if it is new, whatever the process's mask is.
pub fn private() -> std::fs::OpenOptions {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).mode(0o600);
    options
}

/// Takes away what everybody may do with a file or directory that was made before. What its operator lets a group do stays.
pub fn close_to_others(path: &Path) -> std::io::Result<bool> {
    let mode = std::fs::metadata(path)?.permissions().mode();
    if mode & 0o007 == 0 {
        return Ok(false);
    }
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode & 0o7770)).map(|()| true)
}

/// Warns of a secret that everybody may read: it lies where its operator has put it, and how it comes there is his.
pub fn warn_if_open(path: &Path) {
    if std::fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o007 != 0) {
        tracing::warn!(path = %path.display(), "everybody on this machine may read this secret: `chmod o= ` it");
    }
}

/// Made for its owner alone, durably; an existing one keeps the mode that the operator gave it.
pub fn private_directory(path: &Path) -> std::io::Result<()> {
    make_directory(path, std::fs::DirBuilder::new().mode(0o700))
}

/// Writes beside, syncs, renames, syncs the directory: the name never stands for half an object.
pub(super) fn write_file(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    private_directory(directory)?;
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let temporary = PathBuf::from(temporary);
    let written = (|| {
        let mut file = private().create(true).truncate(true).open(&temporary)?;
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
/// and a second name would cost a second sync. One that was prepared has its name on disk.
pub(super) fn write_new(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let prepared = prepared(path)?;
    let is_named = prepared.is_some();
    let directory = path.parent().unwrap_or(Path::new("."));
    let written = (|| {
        let mut file = match prepared {
            Some(file) => file,
            None => {
                private_directory(directory)?;
                private().create(true).truncate(true).open(path)?
            }
        };
        file.write_all(bytes)?;
        file.sync_data()
    })();
    if written.is_err() {
        // As above.
        let _ = std::fs::remove_file(path);
    }
    if is_named { written } else { written.and_then(|()| sync_directory(directory)) }
}

/// A file that waits for what will be written to it.
fn prepared(path: &Path) -> std::io::Result<Option<std::fs::File>> {
    match private().open(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
        Ok(file) => Ok((file.metadata()?.len() == 0).then_some(file)),
    }
}

/// Makes empty files, durably. Nobody takes them for objects.
pub(super) fn prepare(paths: &[PathBuf]) -> std::io::Result<()> {
    let directories: BTreeSet<_> = paths.iter().filter_map(|path| path.parent()).collect();
    directories.iter().try_for_each(|directory| private_directory(directory))?;
    let made = paths.iter().try_for_each(|path| private().create_new(true).open(path).map(drop));
    made.and_then(|()| directories.iter().try_for_each(|directory| sync_directory(directory))).inspect_err(|_| {
        // A failure here leaves an empty file.
        paths.iter().for_each(|path| _ = give_up(path));
    })
}

/// Removes a file that was prepared and not written. It may come back at a power cut, as empty as it was.
pub(super) fn give_up(path: &Path) -> std::io::Result<()> {
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.len() == 0 => std::fs::remove_file(path),
        _ => Ok(()),
    }
}

/// The same for all those of a folder whose names come after a name.
pub(super) fn give_up_after(root: &Path, after: &str) -> Result<(), ObjectError> {
    let folder = after.split_inclusive('/').next().unwrap_or_default();
    for name in names(root, folder)?.filter(|name| name.as_deref().map_or(true, |name| name > after)) {
        let name = name?;
        give_up(&root.join(&name)).map_err(|e| io(&name, e))?;
    }
    Ok(())
}

/// Makes a directory and those that it lies in, durably: a name stands when the directory that it lies in is synced.
fn make_directory(path: &Path, builder: &mut std::fs::DirBuilder) -> std::io::Result<()> {
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

/// The first objects of a folder by name, after a name. The folder is walked for each page: memory stays that of one page.
pub(super) fn list_page(root: &Path, folder: &str, after: &str, limit: usize) -> Result<Vec<Found>, ObjectError> {
    let mut first = BinaryHeap::new();
    for name in names(root, folder)? {
        let name = name?;
        let comes_in = first.len() < limit || first.peek().is_some_and(|last: &Found| name < last.name);
        if name.as_str() > after && comes_in {
            first.extend(found(root, name)?);
        }
        if first.len() > limit {
            first.pop();
        }
    }
    Ok(first.into_sorted_vec())
}

/// The names of the files of a folder, in no order, but for those that are being written beside.
fn names(root: &Path, folder: &str) -> Result<impl Iterator<Item = Result<String, ObjectError>>, ObjectError> {
    let entries = match std::fs::read_dir(root.join(folder)) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => None,
        entries => Some(entries.map_err(|e| io(folder, e))?),
    };
    let name = move |entry: std::fs::DirEntry| {
        let is_file = entry.file_type().is_ok_and(|t| t.is_file());
        let name = format!("{folder}{}", entry.file_name().to_string_lossy());
        (is_file && !name.ends_with(".new")).then_some(name)
    };
    let told = move |entry: std::io::Result<_>| entry.map(&name).map_err(|e| io(folder, e)).transpose();
    Ok(entries.into_iter().flatten().filter_map(told))
}

/// What lies beside the folders, and in them beside files.
pub(super) fn strangers(root: &Path, folders: &[&str], limit: usize) -> Result<Vec<String>, ObjectError> {
    let mut found = Vec::new();
    for folder in std::iter::once(&"").chain(folders) {
        let entries = match std::fs::read_dir(root.join(folder)) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
            entries => entries.map_err(|e| io(folder, e))?,
        };
        for entry in entries {
            let entry = entry.map_err(|e| io(folder, e))?;
            let is_file = entry.file_type().is_ok_and(|t| t.is_file());
            let name = format!("{folder}{}", entry.file_name().to_string_lossy());
            let is_folder = !is_file && folders.contains(&format!("{name}/").as_str());
            let is_object = is_file && !folder.is_empty() && !name.ends_with(".new");
            if !is_folder && !is_object && found.len() < limit {
                found.push(name);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Nothing for a file that went while the folder was walked, or waits for what will be written to it.
pub(super) fn found(root: &Path, name: String) -> Result<Option<Found>, ObjectError> {
    let metadata = match std::fs::metadata(root.join(&name)) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        metadata => metadata.map_err(|e| io(&name, e))?,
    };
    if metadata.len() == 0 {
        return Ok(None);
    }
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
    fn a_name_that_was_prepared_is_no_object_until_it_is_written() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        let all = || list_page(root, "a/", "", 9).unwrap().into_iter().map(|found| found.name).collect::<Vec<_>>();
        prepare(&["a/1", "a/2", "a/3", "b/1"].map(|name| root.join(name))).unwrap();
        assert!(all().is_empty() && found(root, "a/1".into()).unwrap().is_none());
        write_new(&root.join("a/2"), b"two").unwrap();
        assert_eq!((all(), read_file(root, "a/2", 0, 3).unwrap()), (vec!["a/2".to_owned()], b"two".to_vec()));
        assert!(prepare(&[root.join("a/2"), root.join("a/9")]).is_err(), "it is there");
        assert!(!root.join("a/9").exists() && root.join("a/2").exists());
        give_up(&root.join("a/2")).unwrap();
        give_up(&root.join("a/0")).unwrap();
        give_up_after(root, "a/2").unwrap();
        assert!(root.join("a/1").exists() && root.join("a/2").exists() && root.join("b/1").exists());
        assert!(!root.join("a/3").exists(), "nobody has used it");
        give_up_after(root, "a/").unwrap();
        assert!(!root.join("a/1").exists() && root.join("a/2").exists());
        // A second try at what was written before begins anew.
        write_new(&root.join("a/2"), b"2").unwrap();
        assert_eq!(std::fs::read(root.join("a/2")).unwrap(), b"2");
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
