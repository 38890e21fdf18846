//! `_pretty=true`: JSON for people. Works on the text, so that every digit stays.

/// JSON without white space, laid out with two blanks a level.
pub fn pretty(json: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(json.len() * 2);
    let (mut depth, mut quoted, mut escaped) = (0, false, false);
    for (n, byte) in json.iter().copied().enumerate() {
        if quoted {
            out.push(byte);
            quoted = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
            continue;
        }
        let empty = matches!(json.get(n + 1), Some(b'}' | b']'));
        let opened = n > 0 && matches!(json[n - 1], b'{' | b'[');
        match byte {
            b'{' | b'[' => {
                depth += 1;
                out.push(byte);
                if !empty {
                    line(&mut out, depth);
                }
            }
            b'}' | b']' => {
                depth = usize::saturating_sub(depth, 1);
                if !opened {
                    line(&mut out, depth);
                }
                out.push(byte);
            }
            b',' => {
                out.push(byte);
                line(&mut out, depth);
            }
            b':' => out.extend(b": "),
            byte => {
                quoted = byte == b'"';
                out.push(byte);
            }
        }
    }
    out.push(b'\n');
    out
}

fn line(out: &mut Vec<u8>, depth: usize) {
    out.push(b'\n');
    out.extend(std::iter::repeat_n(b' ', 2 * depth));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_laid_out_is_the_same_json() {
        let compact = r#"{"a":[1.00,{"b":"x,y:{\"\\"},[],{}],"c":{}}"#;
        let expected = "{\n  \"a\": [\n    1.00,\n    {\n      \"b\": \"x,y:{\\\"\\\\\"\n    },\n    [],\n    {}\n  ],\n  \"c\": {}\n}\n";
        assert_eq!(String::from_utf8(pretty(compact.as_bytes())).unwrap(), expected);
    }
}
