//! YAML with the line and column of each node, for faults that point at their place. serde-saphyr reads the maps
//! themselves; this is its own parser, so that both see the same.

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span, StrInput};
use serde_json::{Number, Value};

/// How deep a file may nest: the groups of a structure, and a little more.
const MAX_DEPTH: usize = 40;

/// A fault in a file, and where it is; line and column count from 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{line}:{column}: {message}")]
pub struct Fault {
    pub line: usize,
    pub column: usize,
    pub message: String,
}

/// A place in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark {
    pub line: usize,
    pub column: usize,
}

impl Mark {
    pub fn fault(self, message: impl Into<String>) -> Fault {
        Fault { line: self.line, column: self.column, message: message.into() }
    }
}

/// A value and where it begins.
#[derive(Debug)]
pub(crate) struct Node {
    pub at: Mark,
    pub content: Content,
}

#[derive(Debug)]
pub(crate) enum Content {
    Scalar(Value),
    List(Vec<Node>),
    Fields(Vec<Field>),
}

/// A key with its value.
#[derive(Debug)]
pub(crate) struct Field {
    pub key: String,
    pub at: Mark,
    pub node: Node,
}

/// Reads a file with one document.
pub(crate) fn parse(text: &str) -> Result<Node, Fault> {
    let mut reader = Reader { parser: Parser::new_from_str(text) };
    loop {
        match reader.next()? {
            (Event::StreamEnd, at) => return Ok(Node { at, content: Content::Scalar(Value::Null) }),
            (Event::StreamStart | Event::DocumentStart(_), _) => {}
            event => return reader.node(event, 0),
        }
    }
}

impl Node {
    /// The same without places.
    pub fn value(&self) -> Value {
        match &self.content {
            Content::Scalar(value) => value.clone(),
            Content::List(items) => items.iter().map(Self::value).collect(),
            Content::Fields(fields) => fields.iter().map(|f| (f.key.clone(), f.node.value())).collect(),
        }
    }

    pub fn fields(&self) -> &[Field] {
        if let Content::Fields(fields) = &self.content { fields } else { &[] }
    }

    pub fn items(&self) -> &[Self] {
        if let Content::List(items) = &self.content { items } else { &[] }
    }

    /// What stands under a key.
    pub fn get(&self, key: &str) -> Option<&Self> {
        self.fields().iter().find(|f| f.key == key).map(|f| &f.node)
    }

    /// The text under a key.
    pub fn text(&self, key: &str) -> Option<&str> {
        match &self.get(key)?.content {
            Content::Scalar(value) => value.as_str(),
            _ => None,
        }
    }

    /// The nodes one level below.
    pub fn children(&self) -> impl Iterator<Item = &Self> {
        self.items().iter().chain(self.fields().iter().map(|f| &f.node))
    }
}

struct Reader<'t> {
    parser: Parser<'t, StrInput<'t>>,
}

impl<'t> Reader<'t> {
    fn next(&mut self) -> Result<(Event<'t>, Mark), Fault> {
        match self.parser.next_event() {
            Some(Ok((event, span))) => Ok((event, mark(span))),
            Some(Err(error)) => Err(broken(&error)),
            None => Err(Mark { line: 1, column: 1 }.fault("the file ends too early")),
        }
    }

    fn node(&mut self, (event, at): (Event<'t>, Mark), depth: usize) -> Result<Node, Fault> {
        if depth > MAX_DEPTH {
            return Err(at.fault(format!("nests deeper than {MAX_DEPTH} levels")));
        }
        let content = match event {
            Event::Scalar(text, style, ..) => Content::Scalar(scalar(&text, style)),
            Event::SequenceStart(..) => Content::List(self.list(depth)?),
            Event::MappingStart(..) => Content::Fields(self.mapping(depth)?),
            // Each rule says for itself what it does, and nothing can multiply.
            Event::Alias(_) => return Err(at.fault("an alias (*name): write the value out")),
            _ => return Err(at.fault("a value is missing")),
        };
        Ok(Node { at, content })
    }

    fn list(&mut self, depth: usize) -> Result<Vec<Node>, Fault> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(items),
                event => items.push(self.node(event, depth + 1)?),
            }
        }
    }

    fn mapping(&mut self, depth: usize) -> Result<Vec<Field>, Fault> {
        let mut fields: Vec<Field> = Vec::new();
        loop {
            let (key, at) = match self.next()? {
                (Event::MappingEnd, _) => return Ok(fields),
                (Event::Scalar(key, ..), at) => (key.into_owned(), at),
                (_, at) => return Err(at.fault("a key must be text")),
            };
            if let Some(first) = fields.iter().find(|f| f.key == key) {
                return Err(at.fault(format!("`{key}` stands twice; first in line {}", first.at.line)));
            }
            let value = self.next()?;
            fields.push(Field { key, at, node: self.node(value, depth + 1)? });
        }
    }
}

/// The parser counts columns from 0.
fn mark(span: Span) -> Mark {
    Mark { line: span.start.line(), column: span.start.col() + 1 }
}

fn broken(error: &ScanError) -> Fault {
    mark(Span::empty(*error.marker())).fault(format!("not YAML: {}", error.info()))
}

/// YAML 1.2's core schema: what has quotes is text, and so are `yes` and `no`.
fn scalar(text: &str, style: ScalarStyle) -> Value {
    if style != ScalarStyle::Plain {
        return Value::from(text);
    }
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        _ => number(text).map_or_else(|| Value::from(text), Value::Number),
    }
}

fn number(text: &str) -> Option<Number> {
    // What Rust reads besides digits (inf, nan) is text here.
    let digits = text.bytes().any(|b| b.is_ascii_digit());
    let whole = text.parse::<i64>().ok().map(Number::from);
    whole.or_else(|| text.parse().ok().and_then(Number::from_f64)).filter(|_| digits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_tree_is_what_the_core_schema_says() {
        let text = "a: [x, '1', 2, 2.5, true, yes, ~]\nb: {c: \"2.3\", d: 2.5.1}\ne:\n";
        let tree = parse(text).unwrap().value();
        let expected = json!({"a": ["x", "1", 2, 2.5, true, "yes", null], "b": {"c": "2.3", "d": "2.5.1"}, "e": null});
        assert_eq!(tree, expected);
        assert_eq!(parse("").unwrap().value(), Value::Null);
    }

    #[test]
    fn each_node_knows_its_line_and_column() {
        let tree = parse("# é\nrules:\n  - {row: PID-3, to: [x]}\n  - row: PID-4\n").unwrap();
        let rules = tree.get("rules").unwrap().items();
        assert_eq!(rules[0].at, Mark { line: 3, column: 5 });
        assert_eq!(rules[0].fields()[1].at, Mark { line: 3, column: 18 });
        assert_eq!(rules[0].get("to").unwrap().items()[0].at, Mark { line: 3, column: 23 });
        assert_eq!((rules[1].at, rules[1].text("row")), (Mark { line: 4, column: 5 }, Some("PID-4")));
    }

    #[test]
    fn what_cannot_be_read_is_told_with_its_place() {
        for (text, told) in [
            ("a: 1\nb: 2\na: 3\n", "3:1: `a` stands twice; first in line 1"),
            ("a: &x 1\nb: *x\n", "2:4: an alias (*name): write the value out"),
            ("[a]: b\n", "1:1: a key must be text"),
            (&"[".repeat(100), "1:42: nests deeper than 40 levels"),
        ] {
            assert_eq!(parse(text).unwrap_err().to_string(), told);
        }
        assert!(parse("a: [1,\nb: 'x").unwrap_err().to_string().contains("not YAML"));
    }
}
