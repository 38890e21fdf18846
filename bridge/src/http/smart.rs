//! `/.well-known/smart-configuration` (SMART App Launch 2.2, section 2.2): what is true of this server. Clients get tokens by their own
//! keys (backend services); there is no authorization endpoint, so that none is named.

use super::reply::{Reply, body};
use crate::app::App;
use crate::smart::token::Server;
use serde_json::json;
use warp::http::StatusCode;

/// The answer, for everybody.
pub(super) fn configuration(app: &App) -> Reply {
    let server = Server::of(&app.core.base);
    let statement = json!({
        "jwks_uri": server.endpoint("jwks"),
        "token_endpoint": server.endpoint("token"),
        "introspection_endpoint": server.endpoint("introspect"),
        "revocation_endpoint": server.endpoint("revoke"),
        "grant_types_supported": ["client_credentials"],
        "token_endpoint_auth_methods_supported": ["private_key_jwt"],
        "token_endpoint_auth_signing_alg_values_supported": ["RS384", "ES384"],
        "scopes_supported": ["system/*.cruds", "system/[type].cruds"],
        "response_types_supported": [],
        "code_challenge_methods_supported": [],
        "capabilities": ["client-confidential-asymmetric", "permission-v1", "permission-v2"],
    });
    body(StatusCode::OK, "application/json", statement.to_string())
}
