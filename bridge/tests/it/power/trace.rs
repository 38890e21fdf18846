//! What a process did to files, as strace wrote it down: one file a thread, each call with its time and duration.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The calls that change what a disk holds, and those that say which file is meant.
const CALLS: &str = "trace=openat,close,write,pwrite64,lseek,ftruncate,fsync,fdatasync,rename,linkat,unlink,mkdir";

/// A call that has ended.
#[derive(Debug, Clone)]
pub struct Call {
    /// Seconds since 1970 at its end.
    pub ended: f64,
    /// Which of the processes.
    pub process: usize,
    pub name: String,
    pub args: Vec<Arg>,
    pub result: i64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Arg {
    Text(Vec<u8>),
    Word(String),
}

impl Call {
    pub fn path(&self, n: usize) -> PathBuf {
        use std::os::unix::ffi::OsStringExt;
        PathBuf::from(std::ffi::OsString::from_vec(self.bytes(n).to_vec()))
    }

    pub fn bytes(&self, n: usize) -> &[u8] {
        let Arg::Text(bytes) = &self.args[n] else { panic!("no text: {self:?}") };
        bytes
    }

    pub fn word(&self, n: usize) -> &str {
        let Arg::Word(word) = &self.args[n] else { panic!("no word: {self:?}") };
        word
    }

    pub fn number(&self, n: usize) -> i64 {
        self.word(n).parse().unwrap()
    }
}

/// Whether processes may be traced here.
pub fn is_possible() -> bool {
    Command::new("strace").args(["-o", "/dev/null", "true"]).output().is_ok_and(|done| done.status.success())
}

/// A program that is traced into files of that prefix.
pub fn traced(program: &str, prefix: &Path) -> Command {
    let mut command = Command::new("strace");
    command.args(["-ff", "-ttt", "-T", "-xx", "-s", "100000000", "-e", CALLS, "-e", "signal=none", "-o"]);
    command.arg(prefix).arg(program);
    command
}

/// The calls of processes, in the order in which they ended.
pub fn calls(prefixes: &[PathBuf]) -> Vec<Call> {
    let mut calls = Vec::new();
    for (process, prefix) in prefixes.iter().enumerate() {
        let (folder, name) = (prefix.parent().unwrap(), prefix.file_name().unwrap().to_str().unwrap());
        for file in std::fs::read_dir(folder).unwrap().flatten() {
            if file.file_name().to_string_lossy().rsplit_once('.').is_some_and(|(of, _)| of == name) {
                let text = std::fs::read_to_string(file.path()).unwrap();
                let mut last = 0.0_f64;
                for mut call in text.lines().filter_map(|line| call(process, line)) {
                    // The calls of a thread are in their order, whatever becomes of the clock.
                    call.ended = call.ended.max(last);
                    last = call.ended;
                    calls.push(call);
                }
            }
        }
    }
    calls.sort_by(|a, b| a.ended.total_cmp(&b.ended));
    calls
}

/// `1700000000.123456 pwrite64(12, "\x41\x42", 2, 0) = 2 <0.000021>`; nothing for what did not come to an end or failed.
fn call(process: usize, line: &str) -> Option<Call> {
    let (begun, rest) = line.split_once(' ')?;
    let (rest, took) = rest.strip_suffix('>')?.rsplit_once(" <")?;
    let (rest, result) = rest.rsplit_once(" = ")?;
    let (name, args) = rest.trim_end().strip_suffix(')')?.split_once('(')?;
    let result = result.split(' ').next()?.parse().ok().filter(|result| *result >= 0)?;
    let begun = begun.parse::<f64>().ok()?;
    // A number is free as soon as its closing begins: another thread may have it again before that has ended.
    let ended = if name == "close" { begun } else { begun + took.parse::<f64>().ok()? };
    Some(Call { ended, process, name: name.to_owned(), args: args.split(", ").map(arg).collect(), result })
}

fn arg(text: &str) -> Arg {
    match text.strip_prefix('"').and_then(|text| text.strip_suffix('"')) {
        Some(hex) => Arg::Text(hex::decode(hex.replace("\\x", "")).unwrap()),
        None => Arg::Word(text.to_owned()),
    }
}
