//! A disk that forgets, at a power cut, whatever was not synced: the contents of files since their last `fsync`, and the names in
//! a folder since its last `fsync`. It is harsher than any file system in use.

use super::trace::Call;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Writes are kept or lost by the sector.
const SECTOR: usize = 512;

/// What becomes of what was not synced.
#[derive(Debug, Clone, Copy)]
pub enum Lost {
    Everything,
    /// Some sectors, some names: the disk wrote back what it liked. The number decides.
    Some(u64),
}

#[derive(Debug, Default)]
pub struct Disk {
    root: PathBuf,
    files: Vec<File>,
    names: BTreeMap<PathBuf, usize>,
    folders: BTreeSet<PathBuf>,
    kept: BTreeMap<PathBuf, usize>,
    kept_folders: BTreeSet<PathBuf>,
    /// What was done to a folder since it was synced.
    pending: HashMap<PathBuf, Vec<Naming>>,
    open: HashMap<(usize, i64), Open>,
}

#[derive(Debug, Default)]
struct File {
    now: Vec<u8>,
    kept: Vec<u8>,
}

#[derive(Debug, Clone)]
enum Naming {
    File(PathBuf, usize),
    Folder(PathBuf),
    Gone(PathBuf),
    /// From, to: never both names, never none.
    Moved(PathBuf, PathBuf, usize),
}

#[derive(Debug)]
enum Open {
    File { file: usize, at: usize, appends: bool },
    Folder(PathBuf),
}

impl Disk {
    /// An empty folder that survives.
    pub fn new(root: &Path) -> Self {
        let folders = BTreeSet::from([root.to_owned()]);
        Self { root: root.to_owned(), kept_folders: folders.clone(), folders, ..Self::default() }
    }

    /// What a call does. Calls on other things than files of this disk do nothing.
    pub fn apply(&mut self, call: &Call) {
        match call.name.as_str() {
            "openat" => self.open(call),
            "close" => _ = self.open.remove(&(call.process, call.number(0))),
            "write" => self.write(call, None),
            "pwrite64" => self.write(call, Some(call.number(3) as usize)),
            "lseek" => self.seek(call),
            "ftruncate" => self.truncate(call),
            "fsync" | "fdatasync" => self.sync(call),
            "rename" => self.rename(call.path(0), call.path(1)),
            "linkat" => self.link(&call.path(1), call.path(3)),
            "unlink" => self.name(Naming::Gone(call.path(0))),
            "mkdir" => self.name(Naming::Folder(call.path(0))),
            other => panic!("{other} is not understood"),
        }
    }

    fn open(&mut self, call: &Call) {
        let (path, flags) = (call.path(1), call.word(2).to_owned());
        if !path.starts_with(&self.root) {
            return;
        }
        let opened = if self.folders.contains(&path) {
            Open::Folder(path)
        } else {
            let file = self.names.get(&path).copied().unwrap_or_else(|| self.create(path));
            if flags.contains("O_TRUNC") {
                self.files[file].now.clear();
            }
            Open::File { file, at: 0, appends: flags.contains("O_APPEND") }
        };
        self.open.insert((call.process, call.result), opened);
    }

    fn create(&mut self, path: PathBuf) -> usize {
        self.files.push(File::default());
        let file = self.files.len() - 1;
        self.name(Naming::File(path, file));
        file
    }

    fn write(&mut self, call: &Call, offset: Option<usize>) {
        let Some(Open::File { file, at, appends }) = self.open.get_mut(&(call.process, call.number(0))) else { return };
        let bytes = &call.bytes(1)[..call.result as usize];
        let content = &mut self.files[*file].now;
        let from = offset.unwrap_or(if *appends { content.len() } else { *at });
        if content.len() < from + bytes.len() {
            content.resize(from + bytes.len(), 0);
        }
        content[from..from + bytes.len()].copy_from_slice(bytes);
        if offset.is_none() {
            *at = from + bytes.len();
        }
    }

    fn seek(&mut self, call: &Call) {
        if let Some(Open::File { at, .. }) = self.open.get_mut(&(call.process, call.number(0))) {
            *at = call.result as usize;
        }
    }

    fn truncate(&mut self, call: &Call) {
        if let Some(Open::File { file, .. }) = self.open.get(&(call.process, call.number(0))) {
            self.files[*file].now.resize(call.number(1) as usize, 0);
        }
    }

    fn sync(&mut self, call: &Call) {
        match self.open.get(&(call.process, call.number(0))) {
            Some(Open::File { file, .. }) => self.files[*file].kept = self.files[*file].now.clone(),
            Some(Open::Folder(path)) => {
                let done = self.pending.remove(path).unwrap_or_default();
                done.into_iter().for_each(|naming| take(&mut self.kept, &mut self.kept_folders, naming));
            }
            None => {}
        }
    }

    fn rename(&mut self, from: PathBuf, to: PathBuf) {
        let Some(file) = self.names.get(&from).copied() else { return };
        assert_eq!(from.parent(), to.parent(), "only within a folder");
        self.name(Naming::Moved(from, to, file));
    }

    fn link(&mut self, from: &Path, to: PathBuf) {
        if let Some(file) = self.names.get(from) {
            self.name(Naming::File(to, *file));
        }
    }

    fn name(&mut self, naming: Naming) {
        let (Naming::File(path, _) | Naming::Folder(path) | Naming::Gone(path) | Naming::Moved(_, path, _)) = &naming;
        if !path.starts_with(&self.root) {
            return;
        }
        self.pending.entry(path.parent().unwrap().to_owned()).or_default().push(naming.clone());
        take(&mut self.names, &mut self.folders, naming);
    }

    /// Writes what a power cut now would leave into another folder.
    pub fn cut(&self, lost: Lost, to: &Path) {
        let (mut names, mut folders) = (self.kept.clone(), self.kept_folders.clone());
        let mut chance = Chance(if let Lost::Some(seed) = lost { seed } else { 0 });
        if let Lost::Some(_) = lost {
            // What is done to a folder is written in its order, as file systems with a journal do.
            let mut pending: Vec<_> = self.pending.iter().collect();
            pending.sort_by_key(|(path, _)| *path);
            for (_, done) in pending {
                let kept = chance.next() as usize % (done.len() + 1);
                done[..kept].iter().for_each(|naming| take(&mut names, &mut folders, naming.clone()));
            }
        }
        let at = |path: &Path| to.join(path.strip_prefix(&self.root).unwrap());
        // A folder without its parents cannot be reached.
        let reached =
            |path: &Path| path.ancestors().take_while(|p| p.starts_with(&self.root)).all(|p| folders.contains(p));
        folders.iter().filter(|path| reached(path)).for_each(|path| std::fs::create_dir_all(at(path)).unwrap());
        for (path, file) in names.iter().filter(|(path, _)| reached(path.parent().unwrap())) {
            let file = &self.files[*file];
            let content = if let Lost::Some(_) = lost { mixed(file, &mut chance) } else { file.kept.clone() };
            std::fs::write(at(path), content).unwrap();
            // A service reads keys from no file that others may read.
            std::fs::set_permissions(at(path), std::fs::Permissions::from_mode(0o600)).unwrap();
        }
    }
}

fn take(names: &mut BTreeMap<PathBuf, usize>, folders: &mut BTreeSet<PathBuf>, naming: Naming) {
    match naming {
        Naming::File(path, file) => _ = names.insert(path, file),
        Naming::Folder(path) => _ = folders.insert(path),
        Naming::Gone(path) => _ = names.remove(&path),
        Naming::Moved(from, to, file) => {
            names.remove(&from);
            names.insert(to, file);
        }
    }
}

/// A file of which some sectors are as they were synced, some as they are; its length is either's.
fn mixed(file: &File, chance: &mut Chance) -> Vec<u8> {
    let grown = chance.coin();
    let mut content = if grown { file.now.clone() } else { file.kept.clone() };
    for (n, sector) in content.chunks_mut(SECTOR).enumerate() {
        let from = if chance.coin() { &file.kept } else { &file.now };
        let written = from.get(n * SECTOR..).unwrap_or_default();
        let length = sector.len().min(written.len());
        sector[..length].copy_from_slice(&written[..length]);
        if grown {
            // Room was made for the rest, and it was never written.
            sector[length..].fill(0);
        }
    }
    content
}

/// Small numbers by chance that are the same each time (splitmix64).
struct Chance(u64);

impl Chance {
    fn coin(&mut self) -> bool {
        self.next() & 1 == 0
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (mixed ^ (mixed >> 27)) >> 16
    }
}
