//! The guide's spelling of paths, names and assignments.

/// Letters, digits and what carries meaning in a path or a function; labels of instances do not.
pub fn fold(text: &str) -> String {
    squeezed(without_labels(text, is_label))
}

/// A reference that a message map sets: what refers, and to what. Ours may say `each`, the guide goes on into the
/// reference and to the id.
pub fn reference(text: &str) -> Option<(String, String)> {
    let (left, right) = text.strip_prefix("each ").unwrap_or(text).split_once('=')?;
    let end = |side: &str| {
        let side = squeezed(without_labels(side, |_| true));
        let bare = side.strip_suffix(".reference").or_else(|| side.strip_suffix(".id"));
        bare.unwrap_or(&side).to_owned()
    };
    Some((end(left), end(right)))
}

fn without_labels(text: &str, is_label: impl Fn(&str) -> bool) -> String {
    let mut kept = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('[') {
        kept.push_str(before);
        rest = match after.split_once(']') {
            Some((label, behind)) if is_label(label) => behind,
            _ => after,
        };
    }
    kept + rest
}

fn squeezed(mut text: String) -> String {
    text.retain(|c| c.is_ascii_alphanumeric() || "$()\"<>=.".contains(c));
    text.make_ascii_lowercase();
    text
}

/// `[1]`, `[+]`, and the guide's `[n]` and `[1..n]`.
fn is_label(text: &str) -> bool {
    text.chars().all(|c| c.is_ascii_digit() || "+.n".contains(c))
}

/// The guide's path: `$value` is the value itself, and a label or `Quantity` before the first name is the map's own target.
pub fn target(text: &str) -> String {
    let folded = fold(&text.replace("$value", "$this"));
    let path = folded.trim_start_matches('.');
    path.strip_prefix("quantity.").unwrap_or(path).to_owned()
}

/// An assignment in quotes is a constant; the last quote is sometimes missing.
pub fn constant(text: &str) -> Option<&str> {
    let inside = text.strip_prefix('"')?;
    let inside = inside.strip_suffix('"').unwrap_or(inside);
    (!inside.contains('"')).then(|| inside.trim())
}

/// Parts joined by `+`, as a function of ours; an instruction between slashes is none.
pub fn formula(text: &str) -> Option<String> {
    let is_formula = !text.is_empty() && !text.starts_with('/') && constant(text).is_none();
    is_formula.then(|| format!("concat({text})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_the_same_from_both_sides() {
        let guide = reference("ServiceRequest[1].specimen[2].reference=Specimen[SPM].id");
        assert_eq!(guide, reference("each ServiceRequest[1].specimen = Specimen[2]"));
        assert_eq!(
            reference("Provenance[1].entity.role=\"source\""),
            reference("Provenance[1].entity[9].role = \"source\"")
        );
        assert_eq!(reference("Patient[1].id"), None);
    }

    #[test]
    fn folding_leaves_what_carries_meaning() {
        assert_eq!(fold("Specimen[n].note[1..n].text"), "specimen.note.text");
        assert_eq!(fold("AddressType[Use]"), "addresstypeuse");
        assert_eq!(fold("Yes/NoIndicator"), fold("YesNoIndicator"));
        assert_eq!(target("[1].Quantity.value"), "value");
        assert_eq!(target("$value"), "$this");
    }

    #[test]
    fn assignments_are_constants_formulas_or_instructions() {
        assert_eq!((constant("\"SS\""), constant("\"SS"), constant("SS")), (Some("SS"), Some("SS"), None));
        assert_eq!(formula("XTN.6+\" \"+XTN.7").map(|f| fold(&f)), Some(fold("concat(XTN.6, \" \", XTN.7)")));
        assert_eq!((formula("/time of transformation/"), formula("\"a\""), formula("")), (None, None, None));
    }
}
