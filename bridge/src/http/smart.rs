//! `/.well-known/smart-configuration` (SMART App Launch 2.2, section 2.2) and `/.well-known/openid-configuration` (OpenID Connect
//! Discovery 1.0, section 3): what is true of this server.

use super::reply::{Reply, body};
use crate::app::App;
use crate::smart::scopes::EMERGENCY;
use crate::smart::token::Server;
use serde_json::{Value, json};
use warp::http::StatusCode;

/// The answer, for everybody.
pub(super) fn configuration(app: &App) -> Reply {
    let mut statement = common(app);
    statement["capabilities"] = json!([
        "launch-ehr",
        "launch-standalone",
        "authorize-post",
        "client-public",
        "client-confidential-asymmetric",
        "sso-openid-connect",
        "context-banner",
        "context-style",
        "context-ehr-patient",
        "context-ehr-encounter",
        "context-standalone-patient",
        "permission-offline",
        "permission-online",
        "permission-patient",
        "permission-user",
        "permission-v1",
        "permission-v2",
    ]);
    body(StatusCode::OK, "application/json", statement.to_string())
}

/// The same for OpenID's clients.
pub(super) fn openid(app: &App) -> Reply {
    let mut statement = common(app);
    statement["subject_types_supported"] = json!(["public"]);
    statement["id_token_signing_alg_values_supported"] = json!(["RS256"]);
    statement["claims_supported"] = json!(["iss", "sub", "aud", "iat", "exp", "nonce", "fhirUser"]);
    body(StatusCode::OK, "application/json", statement.to_string())
}

fn common(app: &App) -> Value {
    let server = Server::of(&app.core.base);
    let mut told = json!({
        "issuer": server.issuer,
        "jwks_uri": server.endpoint("jwks"),
        "authorization_endpoint": server.endpoint("authorize"),
        "token_endpoint": server.endpoint("token"),
        "introspection_endpoint": server.endpoint("introspect"),
        "revocation_endpoint": server.endpoint("revoke"),
        "management_endpoint": format!("{}/me", server.issuer),
        "grant_types_supported": ["authorization_code", "refresh_token", "client_credentials"],
        "token_endpoint_auth_methods_supported": ["private_key_jwt", "none"],
        "token_endpoint_auth_signing_alg_values_supported": ["RS384", "ES384"],
        "scopes_supported": [
            "openid", "fhirUser", "launch", "launch/patient", "launch/encounter", "offline_access", "online_access", EMERGENCY, "patient/*.cruds",
            "patient/[type].cruds", "user/*.cruds", "user/[type].cruds", "system/*.cruds", "system/[type].cruds",
        ],
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "code_challenge_methods_supported": ["S256"],
        "authorization_response_iss_parameter_supported": true,
    });
    if app.config.registration.open {
        told["registration_endpoint"] = server.endpoint("register").into();
    }
    told
}
