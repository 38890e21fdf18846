//! Files in a record (R4's Attachment): the page of an entry lists them, and each is saved from there, never shown as a page of ours. What
//! lies in a Binary of this server is read as the FHIR API reads it; what lies elsewhere is not fetched.

use super::record::Chart;
use super::refusal::Refusal;
use super::words::size;
use crate::exchange::contents::{VERSION, binary};
use crate::fhir::display::joined;
use crate::http::fhir::{beside, may, to_save, unpacked};
use crate::http::reply::{Reply, body};
use crate::ids::{Name, Version};
use crate::read::{self, Opened};
use crate::smart::scopes::Interaction;
use maud::{Markup, html};
use notary::canonical::Json;
use warp::http::StatusCode;

/// The most files of one entry that have a link.
const MAX_FILES: usize = 100;
/// What of a title is shown, and what of it stands in the name of a file.
const MAX_TITLE: usize = 200;
const MAX_NAME: usize = 60;

/// Where entries have files; a Binary is one.
const PLACES: &[(&str, &[&str])] = &[
    ("Binary", &[]),
    ("Communication", &["payload", "contentAttachment"]),
    ("Consent", &["sourceAttachment"]),
    ("DiagnosticReport", &["presentedForm"]),
    ("DocumentReference", &["content", "attachment"]),
    ("Media", &["content"]),
    ("Patient", &["photo"]),
];

/// A type that a file is given as, the end of its name, and what people call it.
struct Media {
    media_type: &'static str,
    ending: &'static str,
    called: &'static str,
}

/// What nothing runs that is opened from a disk. Whatever else it says to be, a file is bytes: pages and pictures with scripts, too.
const MEDIA: &[Media] = &[
    Media { media_type: "application/dicom", ending: "dcm", called: "DICOM picture" },
    Media { media_type: "application/pdf", ending: "pdf", called: "PDF" },
    Media { media_type: "image/gif", ending: "gif", called: "picture" },
    Media { media_type: "image/jpeg", ending: "jpg", called: "picture" },
    Media { media_type: "image/png", ending: "png", called: "picture" },
    Media { media_type: "image/tiff", ending: "tif", called: "picture" },
    Media { media_type: "text/plain", ending: "txt", called: "text" },
];
const BYTES: Media = Media { media_type: "application/octet-stream", ending: "bin", called: "another type" };

/// Where the bytes of a file are.
#[derive(Debug, PartialEq, Eq)]
enum Kept {
    /// In the entry itself.
    Here,
    /// In a Binary of this server, of this version where the address names one.
    Binary(Name, Option<Version>),
    Elsewhere,
}

/// `GET .../{type}/{id}/file/{n}`: a file of an entry of this very record, counted from 0.
pub(super) async fn open(chart: &Chart<'_>, name: &Name, number: &str) -> Result<Reply, Refusal> {
    let entry = chart.opened(name).await?.json();
    let files = attachments(&entry);
    let file = nth(number).and_then(|n| files.get(n)).ok_or(Refusal::Nothing)?;
    match kept(file, &chart.visit.app.core.base) {
        Some(Kept::Here) => saved(file, file.text("title")).await,
        Some(Kept::Binary(content, version)) => {
            let content = behind(chart, &content, version).await?.json();
            saved(&content, file.text("title")).await
        }
        Some(Kept::Elsewhere) | None => Err(Refusal::Nothing),
    }
}

/// A Binary, where this visitor may read it. Another's is not of this record, whoever's document leads there; one that does not say whose
/// it is goes with the document.
async fn behind(chart: &Chart<'_>, name: &Name, version: Option<Version>) -> Result<Opened, Refusal> {
    let core = &chart.visit.app.core;
    let permit = may(&chart.visit.caller, Interaction::Read, Some(name.kind))?;
    let opened = read::read(core, &permit, name, version).await?.ok_or(Refusal::Nothing)?;
    // An older version may have been filed under the wrong patient, and put right or deleted since.
    let current = match version {
        Some(_) => read::read(core, &permit, name, None).await?.ok_or(Refusal::Nothing)?,
        None => opened.clone(),
    };
    for one in [&opened, &current] {
        if one.stored.deleted || core.is_only_of(one, chart.name()).await? == Some(false) {
            return Err(Refusal::Nothing);
        }
    }
    Ok(opened)
}

/// The content of an attachment or a Binary, to be saved. It is no longer than what a request could bring.
async fn saved(content: &Json, title: Option<&str>) -> Result<Reply, Refusal> {
    let Media { media_type, ending, .. } = media(content);
    let packed = content.text("data").unwrap_or("").to_owned();
    let bytes = beside(packed.len(), move || Ok(unpacked(&packed))).await?.ok_or(Refusal::Broken)?;
    let reply = body(StatusCode::OK, media_type, bytes);
    Ok(to_save(reply, &format!("attachment; filename=\"{}.{ending}\"", stem(title.unwrap_or("")))))
}

/// What the page of an entry says of its files.
pub(super) fn section(chart: &Chart<'_>, name: &Name, entry: &Json) -> Markup {
    let base = &chart.visit.app.core.base;
    let all = attachments(entry).into_iter().enumerate();
    let files: Vec<(usize, &Json, Kept)> = all.filter_map(|(n, file)| Some((n, file, kept(file, base)?))).collect();
    html! { @if !files.is_empty() {
        section.panel aria-labelledby="files-title" {
            h2 #files-title { "Files" }
            ul.rests { @for (n, file, kept) in &files { li {
                @if *kept == Kept::Elsewhere {
                    (called(*n, file)) " is kept elsewhere: its address stands above, and nothing is fetched from there."
                } @else {
                    a href=(chart.at(&format!("/{name}/file/{n}"))) { (called(*n, file)) } " " (about(file))
                }
            } } }
            @if files.iter().any(|(_, _, kept)| *kept != Kept::Elsewhere) {
                p.hint { "A file is saved on this device, where others who use it may find it." }
            }
        }
    } }
}

fn called(n: usize, file: &Json) -> String {
    match file.text("title") {
        Some(title) => title.chars().take(MAX_TITLE).collect(),
        None => format!("File {}", n + 1),
    }
}

/// `(PDF, 12 kB)`, as far as it is known without opening it.
fn about(file: &Json) -> String {
    let is = file.text("contentType").map_or("", |_| media(file).called);
    let stated = || match file.get("size") {
        Some(Json::Number(lexeme)) => lexeme.parse().ok(),
        _ => None,
    };
    let bytes = file.text("data").map(holds).or_else(stated);
    let told = joined([is.to_owned(), bytes.map(size).unwrap_or_default()], ", ");
    if told.is_empty() { told } else { format!("({told})") }
}

/// The files of an entry, in its order.
fn attachments(entry: &Json) -> Vec<&Json> {
    let kind = entry.text("resourceType").unwrap_or("");
    let Some((_, path)) = PLACES.iter().find(|(place, _)| *place == kind) else { return Vec::new() };
    let mut found = vec![entry];
    for name in *path {
        found = found.into_iter().flat_map(|one| values(one, name)).collect();
    }
    found.truncate(MAX_FILES);
    found
}

/// A member's items, or itself where it is no list.
fn values<'j>(json: &'j Json, name: &str) -> &'j [Json] {
    match json.get(name) {
        Some(Json::Array(items)) => items,
        Some(one) => std::slice::from_ref(one),
        None => &[],
    }
}

fn kept(file: &Json, base: &str) -> Option<Kept> {
    if file.text("data").is_some() {
        return Some(Kept::Here);
    }
    let url = file.text("url")?;
    Some(lying(url, base).unwrap_or(Kept::Elsewhere))
}

fn lying(url: &str, base: &str) -> Option<Kept> {
    let name = binary(url, base)?;
    let version = match url.split_once(VERSION) {
        Some((_, version)) => Some(Version::parse(version)?),
        None => None,
    };
    Some(Kept::Binary(name, version))
}

fn nth(number: &str) -> Option<usize> {
    number.parse().ok().filter(|n: &usize| n.to_string() == number)
}

fn media(content: &Json) -> &'static Media {
    let said = content.text("contentType").unwrap_or("").split(';').next().unwrap_or("").trim();
    MEDIA.iter().find(|media| media.media_type.eq_ignore_ascii_case(said)).unwrap_or(&BYTES)
}

/// A title as the name of a file: letters, digits and hyphens, so that nothing but what it is given as ends it.
fn stem(title: &str) -> String {
    let words: Vec<&str> = title.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).collect();
    let name: String = words.join("-").chars().take(MAX_NAME).collect();
    if name.is_empty() { "file".to_owned() } else { name }
}

/// How many bytes base64 holds.
fn holds(data: &str) -> usize {
    data.bytes().filter(|byte| !byte.is_ascii_whitespace() && *byte != b'=').count() * 3 / 4
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: &str = "https://a/fhir";

    fn json(text: &str) -> Json {
        Json::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_file_lies_in_its_entry_in_a_binary_of_this_server_or_elsewhere() {
        let binary = |version| Some(Kept::Binary(Name::parse("Binary/b").unwrap(), version));
        for (file, expected) in [
            (r#"{"data":"eA=="}"#, Some(Kept::Here)),
            (r#"{"data":"eA==","url":"https://b/x"}"#, Some(Kept::Here)),
            (r#"{"url":"Binary/b"}"#, binary(None)),
            (r#"{"url":"https://a/fhir/Binary/b"}"#, binary(None)),
            (r#"{"url":"Binary/b/_history/2"}"#, binary(Version::parse("2"))),
            (r#"{"url":"Binary/b/_history/two"}"#, Some(Kept::Elsewhere)),
            (r#"{"url":"https://b/fhir/Binary/b"}"#, Some(Kept::Elsewhere)),
            (r#"{"url":"https://a/fhirs/Binary/b"}"#, Some(Kept::Elsewhere)),
            (r#"{"url":"Patient/b"}"#, Some(Kept::Elsewhere)),
            (r#"{"url":"file:///etc/passwd"}"#, Some(Kept::Elsewhere)),
            (r#"{"title":"x"}"#, None),
        ] {
            assert_eq!(kept(&json(file), BASE), expected, "{file}");
        }
    }

    #[test]
    fn files_are_found_where_entries_have_them() {
        for (entry, data) in [
            (r#"{"resourceType":"Binary","data":"a"}"#, &["a"][..]),
            (r#"{"resourceType":"Media","content":{"data":"a"}}"#, &["a"]),
            (r#"{"resourceType":"DiagnosticReport","presentedForm":[{"data":"a"},{"data":"b"}]}"#, &["a", "b"]),
            (
                r#"{"resourceType":"DocumentReference","content":[{"attachment":{"data":"a"}},{"attachment":{"data":"b"}}]}"#,
                &["a", "b"],
            ),
            (
                r#"{"resourceType":"Communication","payload":[{"contentString":"x"},{"contentAttachment":{"data":"a"}}]}"#,
                &["a"],
            ),
            (r#"{"resourceType":"Observation","data":"a","content":{"data":"b"}}"#, &[]),
        ] {
            let entry = json(entry);
            let found: Vec<&str> = attachments(&entry).into_iter().filter_map(|file| file.text("data")).collect();
            assert_eq!(found, data);
        }
        let many = format!(r#"{{"resourceType":"Patient","photo":[{}{{}}]}}"#, "{},".repeat(MAX_FILES));
        assert_eq!(attachments(&json(&many)).len(), MAX_FILES);
    }

    #[test]
    fn a_name_ends_in_what_the_file_is_given_as() {
        for (title, name) in [
            ("Letter", "Letter"),
            ("../x\"; filename=\"evil.exe\r\nA: b", "x-filename-evil-exe-A-b"),
            ("Заключение", "file"),
            ("", "file"),
        ] {
            assert_eq!(stem(title), name);
        }
        assert_eq!(stem(&"x".repeat(500)).len(), MAX_NAME);
        for (said, given) in [
            ("text/plain; charset=utf-8", "text/plain"),
            ("Application/PDF", "application/pdf"),
            ("text/html", "application/octet-stream"),
            ("image/svg+xml", "application/octet-stream"),
            ("", "application/octet-stream"),
        ] {
            assert_eq!(media(&json(&format!(r#"{{"contentType":"{said}"}}"#))).media_type, given, "{said}");
        }
    }

    #[test]
    fn a_file_is_told_of_as_far_as_it_is_known() {
        for (file, told) in [
            (r#"{"contentType":"text/plain","data":"aGkg\naG8="}"#, "(text, 5 bytes)"),
            (r#"{"contentType":"application/pdf","url":"Binary/b","size":20001}"#, "(PDF, 21 kB)"),
            (r#"{"contentType":"text/html","url":"Binary/b"}"#, "(another type)"),
            (r#"{"url":"Binary/b"}"#, ""),
        ] {
            assert_eq!(about(&json(file)), told, "{file}");
        }
        let numbers = ["0", "7", "00", "+1", "-1", "x", ""].map(nth);
        assert_eq!(numbers, [Some(0), Some(7), None, None, None, None, None]);
    }
}
