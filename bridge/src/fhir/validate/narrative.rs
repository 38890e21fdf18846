//! Narratives (R4 2.4.0): well-formed XHTML, one `div`, with the elements and attributes that the standard allows (txt-1),
//! and something to read in it (txt-2). What runs is not among them. Images may
//! lie elsewhere (R4 2.4.3): whoever shows a narrative keeps it from fetching them by a content security policy.

use roxmltree::{Document, Node, ParsingOptions};

const XHTML: &str = "http://www.w3.org/1999/xhtml";
/// HTML 4.0 chapters 7 to 11 (but 9.4) and 15, `a`, images and maps.
const ELEMENTS: &[&str] = &[
    "a",
    "abbr",
    "acronym",
    "address",
    "area",
    "b",
    "bdo",
    "big",
    "blockquote",
    "br",
    "caption",
    "cite",
    "code",
    "col",
    "colgroup",
    "dd",
    "dfn",
    "div",
    "dl",
    "dt",
    "em",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "hr",
    "i",
    "img",
    "kbd",
    "li",
    "map",
    "ol",
    "p",
    "pre",
    "q",
    "samp",
    "small",
    "span",
    "strong",
    "sub",
    "sup",
    "table",
    "tbody",
    "td",
    "tfoot",
    "th",
    "thead",
    "tr",
    "tt",
    "ul",
    "var",
];
const ATTRIBUTES: &[&str] = &[
    "abbr",
    "accesskey",
    "align",
    "alt",
    "axis",
    "border",
    "cellpadding",
    "cellspacing",
    "char",
    "charoff",
    "charset",
    "cite",
    "class",
    "colspan",
    "coords",
    "dir",
    "frame",
    "headers",
    "height",
    "href",
    "hreflang",
    "id",
    "ismap",
    "lang",
    "longdesc",
    "name",
    "nohref",
    "nowrap",
    "rel",
    "rev",
    "rowspan",
    "rules",
    "scope",
    "shape",
    "space",
    "span",
    "src",
    "start",
    "style",
    "summary",
    "tabindex",
    "title",
    "type",
    "usemap",
    "valign",
    "value",
    "width",
];
/// More elements than any page for people has.
const MAX_NODES: u32 = 200_000;
/// Browsers give up at 512; a deeper tree is made to break who walks it.
const MAX_DEPTH: usize = 256;

/// What is wrong with a narrative's `div`.
pub fn fault(text: &str) -> Option<&'static str> {
    if depth(text) > MAX_DEPTH {
        return Some("the narrative is nested too deep");
    }
    // Without a DTD there are no entities but XML's own five, as the standard wants it.
    let options = ParsingOptions { allow_dtd: false, nodes_limit: MAX_NODES, ..ParsingOptions::default() };
    let Ok(document) = Document::parse_with_options(text.trim(), options) else {
        return Some("the narrative is not well-formed XHTML; it has no DTD, and no entities but those of XML");
    };
    let root = document.root_element();
    if root.tag_name().name() != "div" {
        return Some("a narrative is one div");
    }
    let mut nodes = document.root().descendants();
    nodes.find_map(node_fault)
}

/// Whether a narrative has neither words nor an image (txt-2). `$validate` asks; a write is not refused for it.
pub fn says_nothing(text: &str) -> bool {
    Document::parse(text.trim()).is_ok_and(|document| is_blank(document.root_element()))
}

/// How deep the tags nest, before the parser meets a tree that it would walk recursively. Each byte is looked at once.
fn depth(text: &str) -> usize {
    let (mut rest, mut open, mut deepest) = (text, 0usize, 0);
    while let Some(at) = rest.find('<') {
        rest = &rest[at..];
        // What does not end is no XML, and nothing stands behind it.
        let Some(length) = markup_length(rest) else { break };
        match rest.as_bytes().get(1) {
            Some(b'/') => open = open.saturating_sub(1),
            Some(b'!' | b'?') => {}
            _ if rest[..length].ends_with("/>") => {}
            _ => open += 1,
        }
        deepest = deepest.max(open);
        rest = &rest[length..];
    }
    deepest
}

/// The length of the comment, instruction or tag that a text begins with.
fn markup_length(text: &str) -> Option<usize> {
    let enclosed = [("<!--", "-->"), ("<![CDATA[", "]]>"), ("<?", "?>")];
    match enclosed.iter().find(|(start, _)| text.starts_with(start)) {
        Some((start, end)) => text[start.len()..].find(end).map(|at| start.len() + at + end.len()),
        None => tag_length(text),
    }
}

/// A tag ends at the first `>` that stands in no attribute's value.
fn tag_length(tag: &str) -> Option<usize> {
    let mut quote = None;
    let ends = |byte: u8| match (quote, byte) {
        (None, b'>') => true,
        (None, b'"' | b'\'') => {
            quote = Some(byte);
            false
        }
        (Some(open), close) if open == close => {
            quote = None;
            false
        }
        _ => false,
    };
    tag.bytes().position(ends).map(|at| at + 1)
}

fn node_fault(node: Node) -> Option<&'static str> {
    if node.is_pi() {
        return Some("a narrative holds no processing instruction");
    }
    if !node.is_element() {
        return None;
    }
    let tag = node.tag_name();
    if !matches!(tag.namespace(), None | Some(XHTML)) || ELEMENTS.binary_search(&tag.name()).is_err() {
        return Some("the narrative has an element that FHIR does not allow there (txt-1)");
    }
    let known = |name: &str| ATTRIBUTES.binary_search(&name).is_ok();
    if node.attributes().any(|a| !known(a.name())) {
        return Some("the narrative has an attribute that FHIR does not allow there (txt-1)");
    }
    let runs =
        node.attributes().any(|a| matches!(a.name(), "href" | "src" | "cite" | "longdesc") && is_script(a.value()));
    if runs {
        return Some("a link of the narrative is a script (txt-1)");
    }
    let runs = node.attribute("style").is_some_and(style_runs);
    runs.then_some("a style of the narrative runs something (txt-1)")
}

/// Browsers skip white space and control characters in a scheme. Data is an image, and no image that may hold a script.
fn is_script(link: &str) -> bool {
    let plain: String = link.chars().filter(|c| !c.is_whitespace() && !c.is_control()).take(20).collect();
    let plain = plain.to_ascii_lowercase();
    let data = plain.strip_prefix("data:");
    plain.starts_with("javascript:")
        || plain.starts_with("vbscript:")
        || data.is_some_and(|media| !media.starts_with("image/") || media.starts_with("image/svg"))
}

/// What in a style made a browser run something; a backslash or a comment could hide it.
fn style_runs(style: &str) -> bool {
    let plain: String = style.chars().filter(|c| !c.is_whitespace()).collect::<String>().to_ascii_lowercase();
    ["expression(", "behavior:", "-moz-binding", "javascript:", "\\", "/*"].iter().any(|word| plain.contains(word))
}

fn is_blank(root: Node) -> bool {
    let says = |node: Node| node.has_tag_name((XHTML, "img")) || node.has_tag_name("img") || has_words(node);
    !root.descendants().any(says)
}

fn has_words(node: Node) -> bool {
    node.is_text() && node.text().is_some_and(|text| !text.trim().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_read_passes() {
        for text in [
            "<div>text</div>",
            "<div xmlns=\"http://www.w3.org/1999/xhtml\" xml:lang=\"de\"><p style=\"color: red\">a &amp; b &#160;</p></div>",
            " <div><table class=\"grid\"><tr><td colspan=\"2\">a<br/></td></tr></table><!-- note --></div>\n",
            "<div><img src=\"data:image/png;base64,AA==\" alt=\"x\"/></div>",
            "<div><a href=\"https://example.org\" title=\"on = off\">x</a></div>",
        ] {
            assert_eq!(fault(text), None, "{text}");
        }
    }

    #[test]
    fn what_runs_or_is_no_xhtml_is_refused() {
        for text in [
            "",
            "text",
            "<p>x</p>",
            "<div>x</div><div>y</div>",
            "<div>x",
            "<div>x</p></div>",
            "<div>&nbsp;</div>",
            "<div>x<script>alert(1)</script></div>",
            "<div>x<SCRIPT/></div>",
            "<div onclick=\"x()\">x</div>",
            "<div>x<img src=\"x\" onerror=\"y\"/></div>",
            "<div><a href=\" java&#10;script:x\">x</a></div>",
            "<div><a href=\"data:text/html,x\">x</a></div>",
            "<div>x<svg xmlns=\"http://www.w3.org/2000/svg\"/></div>",
            "<div>x<?php y ?></div>",
            "<div><a href=\"data:application/xhtml+xml,x\">x</a></div>",
            "<div><img src=\"data:image/svg+xml;base64,AA==\"/></div>",
            "<div style=\"behavior: url(x)\">x</div>",
            "<div style=\"width: exp\\72 ession(x)\">x</div>",
            "<!DOCTYPE div [<!ENTITY a \"b\">]><div>&a;</div>",
        ] {
            assert!(fault(text).is_some(), "{text}");
        }
        for deep in [100, 1_000, 100_000] {
            let text = format!("{}x{}", "<div>".repeat(deep), "</div>".repeat(deep));
            assert_eq!(fault(&text).is_some(), deep > MAX_DEPTH, "{deep}");
            for decoy in ["<!--</-->", "<br title=\"/>\"/>", "<![CDATA[</]]>"] {
                let text = format!("{}x{}", format!("{decoy}<div title=\"/>\">").repeat(deep), "</div>".repeat(deep));
                let text = format!("<div>{text}</div>");
                assert_eq!(fault(&text).is_some(), deep + 1 > MAX_DEPTH, "{decoy} {deep}");
            }
        }
    }

    #[test]
    fn a_narrative_without_words_says_nothing() {
        assert!(says_nothing("<div/>") && says_nothing("<div> <p> </p></div>"));
        assert!(!says_nothing("<div><p>x</p></div>") && !says_nothing("<div><img src=\"#a\"/></div>"));
    }

    #[test]
    fn the_lists_are_sorted() {
        assert!(ELEMENTS.is_sorted() && ATTRIBUTES.is_sorted());
    }
}
