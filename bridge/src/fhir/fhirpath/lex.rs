//! Words of FHIRPath.

/// One word.
#[derive(Debug, Clone, PartialEq)]
pub enum Token {
    Name(String),
    Text(String),
    Number(f64),
    /// `%resource` and its like, `$this`.
    Variable(String),
    Sign(&'static str),
}

/// Longer signs first: `<=` is not `<`.
const SIGNS: &[&str] =
    &["<=", ">=", "!=", "!~", "(", ")", "[", "]", "{", "}", ".", ",", "=", "~", "<", ">", "|", "&", "+", "-", "*", "/"];
/// Bounds the depth of what is parsed, and so the stack.
const MAX_TOKENS: usize = 1_000;

/// Splits a text into its words.
pub fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut rest = text.trim_start();
    let mut tokens = Vec::new();
    while let Some(first) = rest.chars().next() {
        if tokens.len() == MAX_TOKENS {
            return Err("the expression is too long".into());
        }
        let (token, length) = one(rest, first)?;
        tokens.push(token);
        rest = rest[length..].trim_start();
    }
    Ok(tokens)
}

fn one(rest: &str, first: char) -> Result<(Token, usize), String> {
    match first {
        '\'' => quoted(rest, '\'').map(|(text, length)| (Token::Text(text), length)),
        '`' => quoted(rest, '`').map(|(text, length)| (Token::Name(text), length)),
        '%' | '$' => {
            let name = word(&rest[1..]);
            Ok((Token::Variable(format!("{first}{name}")), 1 + name.len()))
        }
        '0'..='9' => number(rest),
        c if c.is_ascii_alphabetic() || c == '_' => {
            let name = word(rest);
            Ok((Token::Name(name.to_owned()), name.len()))
        }
        _ => {
            let sign = SIGNS.iter().find(|sign| rest.starts_with(**sign));
            sign.map(|sign| (Token::Sign(sign), sign.len())).ok_or_else(|| format!("`{first}` is not understood"))
        }
    }
}

fn word(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len());
    &text[..end]
}

fn number(rest: &str) -> Result<(Token, usize), String> {
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let mut length = digits(rest);
    if rest[length..].starts_with('.') && digits(&rest[length + 1..]) > 0 {
        length += 1 + digits(&rest[length + 1..]);
    }
    let number = rest[..length].parse().map_err(|_| "not a number".to_owned())?;
    Ok((Token::Number(number), length))
}

/// A quoted text with its escapes (FHIRPath N1 4.1), and its length in the source.
fn quoted(rest: &str, quote: char) -> Result<(String, usize), String> {
    let mut out = String::new();
    let mut chars = rest.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            c if c == quote => return Ok((out, at + 1)),
            '\\' => match chars.next() {
                Some((_, 'n')) => out.push('\n'),
                Some((_, 'r')) => out.push('\r'),
                Some((_, 't')) => out.push('\t'),
                Some((_, 'f')) => out.push('\u{c}'),
                Some((_, c @ ('\\' | '\'' | '"' | '`' | '/'))) => out.push(c),
                // Guides write a regular expression's own escapes in a text: `'\.'`.
                Some((_, c)) => out.extend(['\\', c]),
                None => break,
            },
            c => out.push(c),
        }
    }
    Err("a quote is not closed".into())
}
