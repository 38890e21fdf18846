//! The pages `/verify` and `/ledger`: files that are compiled in. They load nothing from elsewhere and hold no inline script or style,
//! which their Content-Security-Policy forbids too; the verifier may ask the node that an auditor names.

use super::reply::{Reply, body, with_header};
use warp::http::{StatusCode, header};

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self' https: http://localhost:* \
                      http://127.0.0.1:*; img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

macro_rules! files {
    ($($path:literal $file:literal),* $(,)?) => {
        &[$(($path, include_str!(concat!("../../../", $file)))),*]
    };
}

/// How the pages look, for apps that like to look the same (SMART App Launch 2.2, section 5.2.3). What changes gets a new name.
pub(super) const STYLE: &str = "/portal/style-1.json";

/// Path and content; `bridge/web/files.json` says the same to what serves the pages without us.
const FILES: &[(&str, &str)] = files![
    "/verify" "bridge/web/verify.html",
    "/ledger" "bridge/web/ledger.html",
    "/portal/access.js" "bridge/web/access.js",
    "/portal/chain-view.js" "bridge/web/chain-view.js",
    "/portal/dom.js" "bridge/web/dom.js",
    "/portal/icon.svg" "bridge/web/icon.svg",
    "/portal/inputs.js" "bridge/web/inputs.js",
    "/portal/ledger-page.js" "bridge/web/ledger-page.js",
    "/portal/page.css" "bridge/web/page.css",
    "/portal/people.js" "bridge/web/people.js",
    "/portal/signing.js" "bridge/web/signing.js",
    "/portal/style-1.json" "bridge/web/style-1.json",
    "/portal/verdict-view.js" "bridge/web/verdict-view.js",
    "/portal/verify-page.js" "bridge/web/verify-page.js",
    "/portal/words.js" "bridge/web/words.js",
    "/portal/notary/anchor.js" "notary/web/anchor.js",
    "/portal/notary/bytes.js" "notary/web/bytes.js",
    "/portal/notary/canonical.js" "notary/web/canonical.js",
    "/portal/notary/chain.js" "notary/web/chain.js",
    "/portal/notary/commitment.js" "notary/web/commitment.js",
    "/portal/notary/erasure.js" "notary/web/erasure.js",
    "/portal/notary/grade.js" "notary/web/grade.js",
    "/portal/notary/hash.js" "notary/web/hash.js",
    "/portal/notary/json.js" "notary/web/json.js",
    "/portal/notary/log.js" "notary/web/log.js",
    "/portal/notary/note.js" "notary/web/note.js",
    "/portal/notary/policy.js" "notary/web/policy.js",
    "/portal/notary/receipt.js" "notary/web/receipt.js",
    "/portal/notary/refusal.js" "notary/web/refusal.js",
    "/portal/notary/rlp.js" "notary/web/rlp.js",
    "/portal/notary/seals.js" "notary/web/seals.js",
    "/portal/notary/tree.js" "notary/web/tree.js",
    "/portal/notary/trie.js" "notary/web/trie.js",
    "/portal/notary/verify.js" "notary/web/verify.js",
    "/portal/notary/vendor/noble-hashes/LICENSE" "notary/web/vendor/noble-hashes/LICENSE",
    "/portal/notary/vendor/noble-hashes/_u64.js" "notary/web/vendor/noble-hashes/_u64.js",
    "/portal/notary/vendor/noble-hashes/sha3.js" "notary/web/vendor/noble-hashes/sha3.js",
    "/portal/notary/vendor/noble-hashes/utils.js" "notary/web/vendor/noble-hashes/utils.js",
    "/portal/notary/vendor/noble-secp256k1/LICENSE" "notary/web/vendor/noble-secp256k1/LICENSE",
    "/portal/notary/vendor/noble-secp256k1/index.js" "notary/web/vendor/noble-secp256k1/index.js",
];

/// The first page, which leads to all others.
pub fn landing(content: String) -> Reply {
    let reply = body(StatusCode::OK, "text/html; charset=utf-8", content);
    with_header(reply, header::CONTENT_SECURITY_POLICY, POLICY)
}

/// The file at a path, if it is one of the pages'.
pub fn file(path: &str) -> Option<Reply> {
    let (_, content) = FILES.iter().find(|(known, _)| *known == path)?;
    let reply = body(StatusCode::OK, media_type(path), *content);
    let reply = with_header(reply, header::CONTENT_SECURITY_POLICY, POLICY);
    let reply = with_header(reply, header::REFERRER_POLICY, "no-referrer");
    // A newer medseal has newer files under the same names.
    Some(with_header(reply, header::CACHE_CONTROL, "no-cache"))
}

fn media_type(path: &str) -> &'static str {
    match path.rsplit_once('.').map(|(_, ending)| ending) {
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("json") => "application/json",
        Some("svg") => "image/svg+xml",
        None if path.ends_with("LICENSE") => "text/plain; charset=utf-8",
        _ => "text/html; charset=utf-8",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn what_is_served_is_what_the_list_says() {
        let listed: BTreeMap<String, String> = serde_json::from_str(include_str!("../../web/files.json")).unwrap();
        let tree = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        for (path, place) in &listed {
            let served = file(path).unwrap_or_else(|| panic!("{path} is not served"));
            assert_eq!(served.body().as_ref(), std::fs::read(tree.join(place)).unwrap(), "{path}");
        }
        assert_eq!(FILES.len(), listed.len());
        assert!(file("/portal/../Cargo.toml").is_none());
    }

    #[test]
    fn pages_have_no_inline_script_and_no_inline_style() {
        for (path, content) in FILES.iter().filter(|(path, _)| media_type(path).starts_with("text/html")) {
            let scripts = content.matches("<script").count();
            assert_eq!(scripts, content.matches("<script type=\"module\" src=").count(), "{path}");
            assert!(
                !content.contains("<style") && !content.contains(" style=") && !content.contains(" onclick="),
                "{path}"
            );
        }
    }
}
