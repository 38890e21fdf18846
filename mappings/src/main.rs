//! `medseal-map`: turns HL7 v2 files into FHIR Bundles, for analysts.

use clap::{Args, Parser, Subcommand};
use jiff::tz::TimeZone;
use mappings::charset::{self, Charset};
use mappings::coverage::{Report, What};
use mappings::engine::{Context, Mapped, map};
use mappings::maps::MapSet;
use mappings::parse::Message;
use mappings::schema;
use mappings::to_v2::{self, Envelope, Party};
use mappings::{batch, bundle};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Maps HL7 v2 to FHIR R4: one message gives a Bundle, several give NDJSON.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// A directory of maps instead of those built in.
    #[arg(long)]
    maps: Option<PathBuf>,
    /// The zone of times that were sent without one, such as Europe/Berlin.
    #[arg(long)]
    zone: Option<String>,
    /// Print the rule and the source behind each element, and what no rule used.
    #[arg(long)]
    explain: bool,
    /// List the rules that differ from the guide, and why; needs no file.
    #[arg(long)]
    deviations: bool,
    /// Make the v2 message of this type, such as ADT_A01, of a FHIR Bundle or resource instead.
    #[arg(long, value_name = "MESSAGE")]
    to_v2: Option<String>,
    /// HL7 v2 files, or directories of them.
    paths: Vec<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Compare the maps with the guide's own tables; fails where a row is missing, or differs without a reason.
    Coverage(Coverage),
    /// Print every fault of a directory of maps or overlays, with file, line and column.
    Check(Check),
}

#[derive(Debug, Args)]
struct Check {
    /// A directory of maps, with overlays in `overlays`; or a directory of overlays.
    directory: PathBuf,
    /// The maps that overlays lie over, instead of those beside them or built in.
    #[arg(long)]
    maps: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct Coverage {
    /// The guide's folder with messages, segments, datatypes and codesystems.
    guide: PathBuf,
    /// A directory of maps instead of those built in.
    #[arg(long)]
    maps: Option<PathBuf>,
    /// List the rows of one kind, with the reason, instead of counting.
    #[arg(long)]
    list: Option<What>,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(problem) => {
            eprintln!("medseal-map: {problem}");
            ExitCode::from(2)
        }
    }
}

fn run(arguments: &Arguments) -> Result<bool, String> {
    match &arguments.command {
        Some(Command::Coverage(command)) => return coverage(command),
        Some(Command::Check(command)) => return check(command),
        None => {}
    }
    if let Some(name) = &arguments.to_v2 {
        return to_v2(name, arguments);
    }
    let set = match &arguments.maps {
        Some(directory) => MapSet::load(directory),
        None => MapSet::embedded(),
    };
    let set = set.map_err(|e| e.to_string())?;
    if arguments.deviations {
        set.deviations().for_each(|(rule, why)| println!("{rule}\t{why}"));
        return Ok(true);
    }
    let zone = arguments
        .zone
        .as_deref()
        .map(|name| TimeZone::get(name).map_err(|_| format!("--zone {name}: no such time zone")));
    let zone = zone.transpose()?;
    let files = files(&arguments.paths)?;
    let mut all_good = true;
    for file in &files {
        let bytes = std::fs::read(file).map_err(|e| format!("{}: {e}", file.display()))?;
        all_good &= one_file(&set, &bytes, file, zone.as_ref(), arguments, files.len() > 1);
    }
    Ok(all_good)
}

fn coverage(command: &Coverage) -> Result<bool, String> {
    let report = Report::of(&command.guide, command.maps.as_deref()).map_err(|e| e.to_string())?;
    print!("{}", command.list.map_or_else(|| report.to_string(), |what| report.list(what)));
    Ok(report.is_complete())
}

/// Whether there is no fault.
fn check(command: &Check) -> Result<bool, String> {
    let faults = schema::all_faults(&command.directory, command.maps.as_deref()).map_err(|e| e.to_string())?;
    faults.iter().for_each(|fault| println!("{}: {}", fault.place, fault.problem));
    Ok(faults.is_empty())
}

fn to_v2(name: &str, arguments: &Arguments) -> Result<bool, String> {
    let set =
        arguments.maps.as_deref().map_or_else(to_v2::Set::embedded, to_v2::Set::load).map_err(|e| e.to_string())?;
    let medseal = Party { namespace: "MEDSEAL", ..Party::default() };
    let envelope = Envelope {
        sending_application: medseal,
        sending_facility: Party::default(),
        receiving_application: Party::default(),
        receiving_facility: Party::default(),
        control_id: "1",
        now: "1970-01-01T00:00:00.000Z",
        version: "2.5.1",
        processing_id: "P",
        charset: Charset::Utf8,
    };
    for path in &arguments.paths {
        let at = |e: &dyn std::fmt::Display| format!("{}: {e}", path.display());
        let text = std::fs::read_to_string(path).map_err(|e| at(&e))?;
        let resource = serde_json::from_str(&text).map_err(|e| at(&e))?;
        let (message, report) = to_v2::message(&set, name, &[resource], &envelope).map_err(|e| at(&e))?;
        print!("{}", message.replace('\r', "\n"));
        for note in report.notes.iter().filter(|_| arguments.explain) {
            eprintln!(
                "  {:<60} {}{}",
                note.path,
                note.finding,
                note.rule.as_ref().map_or(String::new(), |r| format!("  ({r})"))
            );
        }
    }
    Ok(true)
}

fn one_file(
    set: &MapSet,
    bytes: &[u8],
    file: &Path,
    zone: Option<&TimeZone>,
    arguments: &Arguments,
    many: bool,
) -> bool {
    let decoded = match charset::decode(bytes, Charset::Utf8) {
        Ok(decoded) => decoded,
        Err(error) => return refused(file, &error.to_string()),
    };
    let messages = batch::messages(&decoded.text);
    let context = Context { charset: decoded.charset, zone, now: "1970-01-01T00:00:00.000Z" };
    let mut good = true;
    for text in &messages {
        let message = match Message::parse(text) {
            Ok(message) => message,
            Err(error) => {
                good = refused(file, &error.to_string());
                continue;
            }
        };
        match map(set, &message, &context) {
            Ok(mapped) if arguments.explain => explain(&mapped),
            Ok(mapped) if many || messages.len() > 1 => println!("{}", bundle::transaction(&mapped)),
            Ok(mapped) => println!("{}", pretty(&bundle::transaction(&mapped))),
            Err(why) => good = refused(file, &why.to_string()),
        }
    }
    good
}

/// What we wrote is JSON; the fallback is never taken.
fn pretty(json: &str) -> String {
    let value: Result<serde_json::Value, _> = serde_json::from_str(json);
    value.and_then(|value| serde_json::to_string_pretty(&value)).unwrap_or_else(|_| json.to_owned())
}

fn refused(file: &Path, why: &str) -> bool {
    eprintln!("{}: {why}", file.display());
    false
}

fn explain(mapped: &Mapped<'_>) {
    println!("map {}", mapped.map);
    for (n, draft) in mapped.drafts.iter().enumerate() {
        println!("\n{} ({n})", draft.type_name);
        for origin in mapped.origins(draft) {
            println!("  {:<60} {:<44} {}", origin.path, origin.rule, origin.place);
        }
    }
    println!("\nnot used, or not usable");
    for line in mapped.report.lines(usize::MAX) {
        println!("  {:<20} {}{}", line.path, line.finding, line.rule.map_or(String::new(), |r| format!("  ({r})")));
    }
}

fn files(paths: &[PathBuf]) -> Result<Vec<PathBuf>, String> {
    let mut found = Vec::new();
    for path in paths {
        if path.is_dir() {
            let entries = std::fs::read_dir(path).map_err(|e| format!("{}: {e}", path.display()))?;
            let mut inside: Vec<PathBuf> =
                entries.flatten().map(|e| e.path()).filter(|p| p.is_dir() || is_hl7(p)).collect();
            inside.sort();
            found.extend(files(&inside)?);
        } else {
            found.push(path.clone());
        }
    }
    Ok(found)
}

fn is_hl7(path: &Path) -> bool {
    path.extension().is_some_and(|e| e == "hl7" || e == "txt" || e == "er7")
}
