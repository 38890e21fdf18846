//! `/.well-known/smart-configuration` (SMART App Launch 2.2, section 2.2): what is true of this server. Tokens are minted at the
//! machine; there is no token endpoint and no authorization endpoint, so that none is named.

use super::reply::{Reply, body};
use serde_json::json;
use warp::http::StatusCode;

/// The answer, for everybody.
pub(super) fn configuration() -> Reply {
    let statement = json!({
        "grant_types_supported": [],
        "scopes_supported": ["system/*.cruds", "system/[type].cruds"],
        "response_types_supported": [],
        "code_challenge_methods_supported": [],
        "capabilities": ["permission-v1", "permission-v2"],
    });
    body(StatusCode::OK, "application/json", statement.to_string())
}
