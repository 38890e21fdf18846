//! Takes a batch file apart (FHS, BHS, messages, BTS, FTS; v2.8.2 chapter 2.10.3): each message is
//! answered by an acknowledgement of its own.

/// The messages of a text: one for a plain message, all of them for a batch. Messages that a sender strung together without
/// a batch header are several too: two patients must not become one message. Line ends stay as they were.
pub fn messages(text: &str) -> Vec<&str> {
    let text = trimmed(text);
    if !is_batch(text) && !is_strung(text) {
        return vec![text];
    }
    let mut starts = Vec::new();
    let mut stops = Vec::new();
    for (at, line) in lines(text) {
        match line.get(..3) {
            Some("MSH") => starts.push(at),
            Some("BTS" | "FTS" | "BHS" | "FHS") => stops.push(at),
            _ => {}
        }
    }
    let end_of = |start: usize, next: Option<&usize>| {
        let stop = stops.iter().find(|&&s| s > start).copied().unwrap_or(text.len());
        next.map_or(stop, |&n| stop.min(n))
    };
    starts.iter().enumerate().map(|(i, &start)| &text[start..end_of(start, starts.get(i + 1))]).collect()
}

/// Whether a text begins a batch file or a batch.
fn is_batch(text: &str) -> bool {
    let text = trimmed(text);
    text.starts_with("FHS") || text.starts_with("BHS")
}

/// Whether a message is followed by another with the same separator.
fn is_strung(text: &str) -> bool {
    let head = text.get(..4).filter(|head| head.starts_with("MSH"));
    head.is_some_and(|head| lines(text).skip(1).any(|(_, line)| line.starts_with(head)))
}

fn trimmed(text: &str) -> &str {
    text.trim_start_matches(['\u{feff}', '\r', '\n', ' ', '\t'])
}

fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut at = 0;
    text.split(['\r', '\n']).map(move |line| {
        let start = at;
        at += line.len() + 1;
        (start, line)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_message_is_itself() {
        assert_eq!(messages("MSH|^~\\&|\rPID|1"), ["MSH|^~\\&|\rPID|1"]);
    }

    #[test]
    fn messages_strung_together_are_several() {
        assert_eq!(messages("MSH|^~\\&|1\rPID|1\rMSH|^~\\&|2\r"), ["MSH|^~\\&|1\rPID|1\r", "MSH|^~\\&|2\r"]);
        assert_eq!(messages("MSH|^~\\&|1\rNTE|1||\rMSH is a segment\r").len(), 1);
    }

    #[test]
    fn a_batch_gives_each_message() {
        let text = "FHS|^~\\&\rBHS|^~\\&\rMSH|^~\\&|1\rPID|1\rMSH|^~\\&|2\rBTS|2\rBHS|^~\\&\rMSH|^~\\&|3\nFTS|1\r";
        assert_eq!(messages(text), ["MSH|^~\\&|1\rPID|1\r", "MSH|^~\\&|2\r", "MSH|^~\\&|3\n"]);
        assert!(messages("BHS|^~\\&\rBTS|0").is_empty());
    }
}
