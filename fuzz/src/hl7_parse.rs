//! The HL7 v2 parser: no byte of a message is lost, and what it prints it reads again as the same message.

use mappings::charset::{Charset, decode};
use mappings::parse::{Message, Segment, Separators, part, split};
use mappings::{batch, escape};

/// Holds for each message of any bytes.
pub fn hold(bytes: &[u8]) {
    let Ok(decoded) = decode(bytes, Charset::Utf8) else { return };
    for text in batch::messages(&decoded.text) {
        assert!(decoded.text.contains(text), "a message of a batch is not in it");
        if let Ok(message) = Message::parse(text) {
            is_whole(&message);
            prints_as_it_reads(&message);
            message.segments().for_each(|segment| values(&segment, &message.separators(), decoded.charset));
        }
    }
}

/// All of the text is in some segment, but for line ends and blanks.
fn is_whole(message: &Message<'_>) {
    let dense = |text: &str| text.chars().filter(|c| !c.is_ascii_whitespace() && *c != '\0').collect::<String>();
    assert_eq!(dense(&message.to_string()), dense(message.text()), "text is in no segment");
}

fn prints_as_it_reads(message: &Message<'_>) {
    let printed = message.to_string();
    let again = Message::parse(&printed);
    let again = again.as_ref().expect("what was printed can be read");
    assert_eq!(again.to_string(), printed, "printed and read again is another message");
    assert_eq!(again.len(), message.len(), "printed and read again has other segments");
    assert_eq!(again.separators(), message.separators());
    let sign = char::from(message.separators().field);
    let built: String = message.segments().map(|segment| rebuilt(&segment, sign)).collect();
    assert_eq!(built, printed, "the fields are not the segment");
}

fn rebuilt(segment: &Segment<'_, '_>, sign: char) -> String {
    // The first field of a header segment is the separator itself.
    let first = if segment.field(1) == sign.to_string() { 2 } else { 1 };
    let fields: String = (first..=segment.len()).map(|n| format!("{sign}{}", segment.field(n))).collect();
    format!("{}{fields}\r", segment.name())
}

/// Repetitions and components are the field's text, cut at the separators.
fn values(segment: &Segment<'_, '_>, separators: &Separators, charset: Charset) {
    let at = segment.index();
    assert!(segment.field(segment.len() + 1).is_empty(), "segment {at} has a field behind its last");
    for n in 1..=segment.len() {
        let joined: Vec<&str> = segment.repetitions(n).collect();
        let repetition = char::from(separators.repetition).to_string();
        assert_eq!(joined.join(&repetition), segment.field(n), "segment {at} field {n}");
        joined.into_iter().for_each(|value| components(value, separators, charset));
    }
}

fn components(value: &str, separators: &Separators, charset: Charset) {
    let parts: Vec<&str> = split(value, Some(separators.component)).collect();
    assert_eq!(parts.join(&char::from(separators.component).to_string()), value);
    for (n, text) in parts.iter().enumerate() {
        assert_eq!(part(value, Some(separators.component), n + 1), *text);
        let plain = escape::decode(text, separators, charset);
        let has_mark = separators.escape.is_some_and(|mark| text.contains(char::from(mark)));
        assert!(has_mark || plain == *text, "a text without escapes is not itself");
    }
}
