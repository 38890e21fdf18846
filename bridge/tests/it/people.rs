//! People sign in: what works, and every way that must not.

use super::door::{Browser, Passkey, Wallet, invitation, text};
use super::stores::arguments;
use super::world::World;
use bridge::people::Role;
use serde_json::{Value, json};

const ADMINISTRATOR: Role = Role::Administrator;

async fn signed_up(world: &World) -> (Browser<'_>, Passkey) {
    let mut browser = Browser::new(world);
    let passkey = browser.join(&invitation(world, ADMINISTRATOR, None, None)).await;
    (browser, passkey)
}

#[tokio::test]
async fn somebody_joins_signs_out_and_signs_in_again() {
    let world = World::new().await;
    let (status, _) = world.call("PUT", "/fhir/Patient/ada", r#"{"resourceType":"Patient","id":"ada"}"#).await;
    assert_eq!(status, 201);
    let code = invitation(&world, Role::Patient, Some("Patient/ada"), None);
    let mut browser = Browser::new(&world);
    assert!(!browser.is_signed_in().await);
    let page = browser.page(&format!("/auth/join?code={code}")).await;
    assert!(page.contains("a patient") && !page.contains("<script>"));
    let mut passkey = browser.join(&code).await;
    let me = browser.page("/me").await;
    assert!(me.contains("Patient/ada") && me.contains("Passkey"), "{me}");

    let token = browser.token().await;
    let reply = browser.form("/auth/logout", &format!("token={token}")).await;
    assert_eq!((reply.status().as_u16(), reply.headers()["location"].to_str().unwrap()), (303, "/auth/login"));
    assert!(reply.headers()["set-cookie"].to_str().unwrap().contains("Max-Age=0"));
    assert!(!browser.is_signed_in().await);

    let (status, told) = browser.sign_in(&mut passkey).await;
    assert_eq!((status, told), (200, json!({"next": "/me"})));
    assert!(browser.is_signed_in().await);
    let again = browser.get("/auth/login?next=/ledger").await;
    assert_eq!(again.headers()["location"], "/ledger", "who is signed in goes on");
}

#[tokio::test]
async fn every_page_is_under_a_strict_policy_and_in_nobodys_frame() {
    let world = World::new().await;
    let (mut browser, _) = signed_up(&world).await;
    let code = invitation(&world, ADMINISTRATOR, None, None);
    for path in ["/me", "/auth/logout", "/auth/join?code=none", &format!("/auth/join?code={code}")] {
        let reply = browser.get(path).await;
        let policy = reply.headers()["content-security-policy"].to_str().unwrap();
        for part in ["default-src 'none'", "script-src 'self'", "frame-ancestors 'none'", "form-action 'self'"] {
            assert!(policy.contains(part), "{path}: {policy}");
        }
        assert_eq!(reply.headers()["cache-control"], "no-store", "{path}");
    }
}

#[tokio::test]
async fn who_comes_by_address_goes_on_by_name() {
    let world = World::new().await;
    let reply = world.request("GET", "/auth/login?next=%2Fme", &[], b"").await;
    let expected = format!("http://localhost:{}/auth/login?next=%2Fme", world.running.http.port());
    assert_eq!((reply.status().as_u16(), reply.headers()["location"].to_str().unwrap()), (303, expected.as_str()));
    let odd = world.request("GET", "/me/patients/%05%C3%A9%20?a=%05", &[], b"").await;
    let expected = format!("http://localhost:{}/me/patients/%05%C3%A9%20?a=%05", world.running.http.port());
    assert_eq!(odd.headers()["location"].to_str().unwrap(), expected, "what stands in no header is escaped");
}

#[tokio::test]
async fn a_passkeys_answer_counts_once_here_and_as_it_was_signed() {
    let world = World::new().await;
    let (mut browser, mut passkey) = signed_up(&world).await;
    let mut thief = Browser::new(&world);

    let options = thief.options().await;
    let answer = passkey.sign(&options);
    assert_eq!(thief.post("/auth/login/passkey", &json!({"answer": answer})).await.0, 200);
    let mut other = Browser::new(&world);
    assert_eq!(other.post("/auth/login/passkey", &json!({"answer": answer})).await.0, 400, "replayed");
    assert!(other.cookie.is_none());

    // A question of the door to join, or of nobody.
    let code = invitation(&world, ADMINISTRATOR, None, None);
    let (_, joining) = other.post("/auth/join/options", &json!({"code": code})).await;
    for options in [joining, json!({"challenge": text([7; 40])}), json!({"challenge": text([7; 39])})] {
        let (status, _) = other.post("/auth/login/passkey", &json!({"answer": passkey.sign(&options)})).await;
        assert_eq!(status, 400, "{options}");
    }

    type Change = fn(&mut Passkey);
    let changes: [(&str, Change); 6] = [
        ("another origin", |p| p.origin = "https://evil.example".into()),
        ("another port", |p| p.origin = "http://localhost:1".into()),
        ("another site", |p| p.site = "evil.example".into()),
        ("nobody verified", |p| p.flags = 0x19),
        ("nobody present", |p| p.flags = 0x1c),
        ("another user", |p| p.user = b"somebody".to_vec()),
    ];
    for (what, change) in changes {
        let (origin, site, flags, user) =
            (passkey.origin.clone(), passkey.site.clone(), passkey.flags, passkey.user.clone());
        change(&mut passkey);
        assert_eq!(other.sign_in(&mut passkey).await.0, 403, "{what}");
        (passkey.origin, passkey.site, passkey.flags, passkey.user) = (origin, site, flags, user);
    }

    let options = other.options().await;
    let mut changed = passkey.sign(&options);
    let mut signature = changed["signature"].as_str().unwrap().to_owned();
    let last = if signature.pop() == Some('A') { 'B' } else { 'A' };
    signature.push(last);
    changed["signature"] = signature.into();
    let changed_client = {
        let mut answer = passkey.sign(&options);
        answer["client"] = text(passkey.client("webauthn.get", &options).replace("false", "false ")).into();
        answer
    };
    let cross = passkey.sign_client(&passkey.client("webauthn.get", &options).replace("false", "true"));
    let creation = passkey.sign_client(&passkey.client("webauthn.create", &options));
    for (what, answer) in [
        ("signature", changed),
        ("client data", changed_client),
        ("another's frame", cross),
        ("another ceremony", creation),
    ] {
        let (status, _) = other.post("/auth/login/passkey", &json!({"answer": answer})).await;
        assert!((400..500).contains(&status) && other.cookie.is_none(), "{what}: {status}");
    }
    let mut foreign =
        Passkey::new(&browser.origin, &json!({"user": {"id": text(&passkey.user)}, "rp": {"id": "localhost"}}));
    assert_eq!(other.sign_in(&mut foreign).await.0, 403, "a credential that nobody registered");
    foreign.id = passkey.id.clone();
    assert_eq!(other.sign_in(&mut foreign).await.0, 403, "another key under a registered name");
    assert!(browser.is_signed_in().await && !other.is_signed_in().await);
    assert_eq!(other.sign_in(&mut passkey).await.0, 200, "and all that was right comes in");
}

#[tokio::test]
async fn a_counter_that_goes_back_is_a_copy() {
    let world = World::new().await;
    let (mut browser, mut passkey) = signed_up(&world).await;
    for (counter, expected) in [(5, 200), (5, 403), (4, 403), (0, 403), (6, 200)] {
        passkey.counter = counter;
        assert_eq!(browser.sign_in(&mut passkey).await.0, expected, "{counter}");
    }
}

#[tokio::test]
async fn what_is_registered_is_checked() {
    let world = World::new().await;
    let code = invitation(&world, ADMINISTRATOR, None, None);
    let mut browser = Browser::new(&world);
    let (_, options) = browser.post("/auth/join/options", &json!({"code": code})).await;
    assert_eq!(options["attestation"], "none");
    assert_eq!(options["authenticatorSelection"]["userVerification"], "required");
    let passkey = Passkey::new(&browser.origin, &options);
    let good = passkey.made(&options);
    let with = |name: &str, value: Value| {
        let mut changed = good.clone();
        changed[name] = value;
        changed
    };
    let unverified = Passkey { flags: 0x19, ..Passkey::new(&browser.origin, &options) }.made(&options);
    let elsewhere = Passkey { site: "evil.example".into(), ..Passkey::new(&browser.origin, &options) }.made(&options);
    for (what, answer) in [
        ("an algorithm that is not taken", with("algorithm", json!(-65_535))),
        ("a key of another kind", with("algorithm", json!(-257))),
        ("no key", with("key", json!(text("none")))),
        ("another id", with("id", json!(text("other")))),
        ("an assertion", with("client", json!(text(passkey.client("webauthn.get", &options))))),
        ("nobody verified", unverified),
        ("another site", elsewhere),
        ("more than is known", with("more", json!(1))),
    ] {
        let (status, _) = browser.post("/auth/join/passkey", &json!({"code": code, "answer": answer})).await;
        assert!((400..500).contains(&status) && browser.cookie.is_none(), "{what}: {status}");
    }
    let (status, _) = browser.post("/auth/join/passkey", &json!({"code": code, "answer": good})).await;
    assert_eq!(status, 200, "none of these used the invitation up");
}

#[tokio::test]
async fn an_invitation_counts_once_and_for_its_time() {
    let world = World::new().await;
    let code = invitation(&world, ADMINISTRATOR, None, None);
    let mut browser = Browser::new(&world);
    browser.join(&code).await;
    let mut late = Browser::new(&world);
    assert_eq!(late.get(&format!("/auth/join?code={code}")).await.status(), 410);
    assert_eq!(late.post("/auth/join/options", &json!({"code": code})).await.0, 410);
    for wrong in ["", "guess", &text([0; 32])] {
        assert_eq!(late.post("/auth/join/options", &json!({"code": wrong})).await.0, 410, "{wrong}");
    }
    let core = &world.running.app.core;
    let bearer = bridge::people::secrets::Bearer::new(&bridge::secret::system_random).unwrap();
    let person = bridge::people::Person::new(ADMINISTRATOR, None, None).unwrap();
    let now = core.clock.now().as_millisecond();
    core.store.invite(&bearer.digest(), &person, now - 1, now - 2).unwrap();
    assert_eq!(late.post("/auth/join/options", &json!({"code": bearer.expose()})).await.0, 410, "expired");

    // Two who open one invitation at a time: one of them is in.
    let code = invitation(&world, ADMINISTRATOR, None, None);
    let (mut one, mut two) = (Browser::new(&world), Browser::new(&world));
    let (_, first) = one.post("/auth/join/options", &json!({"code": code})).await;
    let (_, second) = two.post("/auth/join/options", &json!({"code": code})).await;
    let answer =
        |options: &Value| json!({"code": code, "answer": Passkey::new(&browser.origin, options).made(options)});
    let (first, second) = (answer(&first), answer(&second));
    let (a, b) = tokio::join!(one.post("/auth/join/passkey", &first), two.post("/auth/join/passkey", &second));
    let mut statuses = [a.0, b.0];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 410]);
}

#[tokio::test]
async fn who_lost_a_passkey_adds_one_by_a_new_invitation() {
    let world = World::new().await;
    world.call("PUT", "/fhir/Patient/ada", r#"{"resourceType":"Patient","id":"ada"}"#).await;
    let mut browser = Browser::new(&world);
    let invite = || invitation(&world, Role::Patient, Some("Patient/ada"), None);
    let first = browser.join(&invite()).await;
    let second = Browser::new(&world).join(&invite()).await;
    assert_eq!(first.user, second.user, "one person, one account");
    assert_eq!(world.running.app.core.store.accounts().unwrap().len(), 1);
    assert_eq!(browser.page("/me").await.matches("<td>Passkey</td>").count(), 2);
}

#[tokio::test]
async fn a_sessions_name_is_always_new_and_no_other_page_can_use_it() {
    let world = World::new().await;
    let (mut browser, mut passkey) = signed_up(&world).await;
    let joined = browser.cookie.clone().unwrap();

    // Fixation: what the browser bore before is no session, and the one that it had ends.
    let planted = format!("__Host-medseal={}", text([9; 32]));
    let mut victim = Browser::new(&world);
    victim.cookie = Some(planted.clone());
    assert_eq!(victim.sign_in(&mut passkey).await.0, 200);
    assert_ne!(victim.cookie.as_ref(), Some(&planted));
    let mut attacker = Browser::new(&world);
    attacker.cookie = Some(planted);
    assert!(!attacker.is_signed_in().await && victim.is_signed_in().await);
    assert_eq!(browser.sign_in(&mut passkey).await.0, 200);
    attacker.cookie = Some(joined);
    assert!(!attacker.is_signed_in().await, "the session before ended");

    // CSRF.
    let token = browser.token().await;
    let good = format!("token={token}");
    let of_victim = format!("token={}", victim.token().await);
    let form = ("content-type", "application/x-www-form-urlencoded");
    let origin = browser.origin.clone();
    let own = ("origin", origin.as_str());
    for (what, headers, body) in [
        ("no token", vec![own, form], ""),
        ("another session's token", vec![own, form], of_victim.as_str()),
        ("no origin", vec![form], &good),
        ("another origin", vec![("origin", "https://evil.example"), form], &good),
        ("an opaque origin", vec![("origin", "null"), form], &good),
        ("another site", vec![own, ("sec-fetch-site", "cross-site"), form], &good),
        ("a sibling's page", vec![own, ("sec-fetch-site", "same-site"), form], &good),
        ("no form", vec![own, ("content-type", "text/plain")], &good),
    ] {
        let reply = browser.send("POST", "/auth/logout", &headers, body).await;
        assert!(matches!(reply.status().as_u16(), 400 | 403), "{what}: {}", reply.status());
        let json = ("content-type", "application/json");
        let headers: Vec<_> = headers.into_iter().filter(|(name, _)| *name != "content-type").chain([json]).collect();
        let token = body.strip_prefix("token=").filter(|_| what != "no form");
        let reply = browser.send("POST", "/auth/keys/options", &headers, &json!({"token": token}).to_string()).await;
        assert!(what == "no form" || reply.status() == 403, "{what}: {}", reply.status());
    }
    assert!(browser.is_signed_in().await);
    browser.origin = "https://evil.example".into();
    assert_eq!(browser.post("/auth/login/options", &json!({})).await.0, 403, "even a question is for our pages alone");
}

#[tokio::test]
async fn nobody_is_sent_elsewhere() {
    let world = World::new().await;
    let (mut browser, mut passkey) = signed_up(&world).await;
    for bad in
        ["//evil.example", "https://evil.example", "/%5Cevil.example", "/%09/evil.example", "javascript:alert(1)"]
    {
        let reply = browser.get(&format!("/auth/login?next={bad}")).await;
        assert_eq!(reply.headers()["location"], "/me", "{bad}");
        let page = Browser::new(&world).page(&format!("/auth/login?next={bad}")).await;
        assert!(page.contains("data-next=\"/me\""), "{bad}");
    }
    let options = browser.options().await;
    let answer = passkey.sign(&options);
    let (_, told) = browser.post("/auth/login/passkey", &json!({"answer": answer, "next": "//evil.example"})).await;
    assert_eq!(told["next"], "/me");
    let hostile = "/%22%3E%3Cscript%3Ealert(1)%3C/script%3E";
    let page = Browser::new(&world).page(&format!("/auth/login?next={hostile}")).await;
    assert!(!page.contains("<script>alert"), "{page}");
    assert_eq!(browser.sign_in(&mut passkey).await.0, 200);
}

#[tokio::test]
async fn a_wallet_signs_in_where_its_owner_linked_it() {
    let world = World::new().await;
    let (mut browser, _) = signed_up(&world).await;
    let wallet = Wallet::new();
    let mut stranger = Browser::new(&world);
    let (message, nonce) = stranger.message("login", &wallet.address(), json!({})).await;
    let (status, told) = stranger.post("/auth/login/wallet", &json!({"answer": wallet.sign(&message, &nonce)})).await;
    assert_eq!((status, &told["error"]), (403, &json!("Nobody here signs in with this.")), "nobody has linked it");

    let token = browser.token().await;
    let (linking, nonce) = browser.message("keys", &wallet.address(), json!({"token": token})).await;
    let answer = wallet.sign(&linking, &nonce);
    assert_eq!(
        stranger.post("/auth/login/wallet", &json!({"answer": answer})).await.0,
        400,
        "signed to link, not to come in"
    );
    assert_eq!(stranger.post("/auth/keys/wallet", &json!({"answer": answer})).await.0, 401);
    let (status, told) = browser.post("/auth/keys/wallet", &json!({"token": token, "answer": answer})).await;
    assert_eq!(status, 200, "{told}");
    assert!(browser.page("/me").await.contains(&wallet.address()));

    let (message, nonce) = stranger.message("login", &wallet.address(), json!({})).await;
    assert!(message.starts_with(&format!("localhost:{} wants you to sign in", world.running.http.port())));
    let answer = wallet.sign(&message, &nonce);
    assert_eq!(stranger.post("/auth/login/wallet", &json!({"answer": answer})).await.0, 200);
    assert!(stranger.is_signed_in().await);
    assert_eq!(Browser::new(&world).post("/auth/login/wallet", &json!({"answer": answer})).await.0, 400, "replayed");

    // The same wallet is nobody else's.
    let code = invitation(&world, ADMINISTRATOR, None, None);
    let mut other = Browser::new(&world);
    let (message, nonce) = other.message("join", &wallet.address(), json!({"code": code})).await;
    let body = json!({"code": code, "answer": wallet.sign(&message, &nonce)});
    assert_eq!(other.post("/auth/join/wallet", &body).await.0, 409);
    let fresh = Wallet::new();
    let (message, nonce) = other.message("join", &fresh.address(), json!({"code": code})).await;
    let body = json!({"code": code, "answer": fresh.sign(&message, &nonce)});
    assert_eq!(other.post("/auth/join/wallet", &body).await.0, 200, "a refusal did not use the invitation up");
    assert!(other.is_signed_in().await);
}

#[tokio::test]
async fn a_wallets_message_is_ours_to_the_letter() {
    let world = World::new().await;
    let wallet = Wallet::new();
    let mut browser = Browser::new(&world);
    let code = invitation(&world, ADMINISTRATOR, None, None);
    let (message, nonce) = browser.message("join", &wallet.address(), json!({"code": code})).await;
    let domain = format!("localhost:{} wants", world.running.http.port());
    for (what, changed) in [
        ("domain", message.replace(&domain, "evil.example wants")),
        ("uri", message.replace("URI: http://localhost", "URI: https://evil.example")),
        ("chain", message.replace("Chain ID: 1\n", "Chain ID: 5\n")),
        ("nonce", message.replace(&nonce, &"ab".repeat(40))),
        ("time", message.replace("Expiration Time: 20", "Expiration Time: 30")),
        ("statement", message.replace("Let this wallet", "Let this")),
        ("version", message.replace("Version: 1", "Version: 2")),
    ] {
        assert_ne!(changed, message, "{what}");
        let body = json!({"code": code, "answer": wallet.sign(&changed, &nonce)});
        assert_eq!(browser.post("/auth/join/wallet", &body).await.0, 403, "{what}");
    }
    let other = Wallet::new();
    let mut answer = other.sign(&message, &nonce);
    answer["address"] = wallet.address().into();
    assert_eq!(browser.post("/auth/join/wallet", &json!({"code": code, "answer": answer})).await.0, 403, "another's");
    for nonce in ["", "zz", &"ab".repeat(40)] {
        let body = json!({"code": code, "answer": wallet.sign(&message, nonce)});
        assert_eq!(browser.post("/auth/join/wallet", &body).await.0, 400, "a nonce that is not ours: {nonce}");
    }
    let body = json!({"code": code, "answer": wallet.sign(&message, &nonce)});
    assert_eq!(browser.post("/auth/join/wallet", &body).await.0, 200);
}

#[tokio::test]
async fn keys_are_removed_by_their_owner_but_for_the_last_one() {
    let world = World::new().await;
    let (mut browser, mut passkey) = signed_up(&world).await;
    let (mut other, _) = signed_up(&world).await;
    let store = &world.running.app.core.store;
    let account = store.accounts().unwrap()[0].id.clone();
    let name = store.credentials(&account).unwrap()[0].name.0.clone();
    let token = browser.token().await;
    let reply = browser.form("/auth/keys/remove", &format!("token={token}&key={name}")).await;
    assert_eq!(reply.status(), 409, "the last one");
    let of_other = other.token().await;
    let reply = other.form("/auth/keys/remove", &format!("token={of_other}&key={name}")).await;
    assert_eq!(reply.status(), 403, "another's");

    let wallet = Wallet::new();
    let (message, nonce) = browser.message("keys", &wallet.address(), json!({"token": token})).await;
    let body = json!({"token": token, "answer": wallet.sign(&message, &nonce)});
    assert_eq!(browser.post("/auth/keys/wallet", &body).await.0, 200);
    let reply = browser.form("/auth/keys/remove", &format!("token={token}&key={name}")).await;
    assert_eq!(reply.status(), 303);
    assert!(!browser.is_signed_in().await, "a session ends with the key that it began with");
    assert_eq!(browser.sign_in(&mut passkey).await.0, 403);
}

#[tokio::test]
async fn a_closed_account_is_out_at_once() {
    let world = World::new().await;
    let (mut browser, mut passkey) = signed_up(&world).await;
    let store = &world.running.app.core.store;
    let account = store.accounts().unwrap()[0].clone();
    assert!(store.close_account(&account.id, true).unwrap());
    assert!(!browser.is_signed_in().await);
    assert_eq!(browser.sign_in(&mut passkey).await.0, 403);
    assert!(store.close_account(&account.id, false).unwrap());
    assert!(!browser.is_signed_in().await, "what ended stays ended");
    assert_eq!(browser.sign_in(&mut passkey).await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_administrator_at_the_machine_invites_lists_and_closes_beside_the_service() {
    let world = World::new().await;
    let data = world.directory.path().join("data");
    let medseal = |verb: &str, more: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_medseal"));
        let done = command.args(["user", verb]).args(arguments(&data)).args(more).output().unwrap();
        (done.status.success(), String::from_utf8(done.stdout).unwrap(), String::from_utf8(done.stderr).unwrap())
    };
    let (done, _, told) = medseal("invite", &["--role", "patient", "--for", "Patient/nobody"]);
    assert!(!done && told.contains("Patient/nobody is not stored here"), "{told}");
    let (done, _, told) = medseal("invite", &["--role", "clinician", "--for", "Practitioner/x"]);
    assert!(!done && told.contains("Organization/id"), "{told}");
    let (done, link, told) = medseal("invite", &["--role", "administrator"]);
    assert!(done && told.contains("once"), "{told}");
    let (_, code) = link.trim().split_once("/auth/join?code=").unwrap();
    let mut browser = Browser::new(&world);
    browser.join(code).await;
    let (_, listed, _) = medseal("list", &[]);
    let fields: Vec<&str> = listed.trim().split('\t').collect();
    assert_eq!((fields[1], fields[2], fields[5]), ("administrator", "enabled", "passkey"), "{listed}");
    assert!(medseal("disable", &[fields[0]]).0 && !medseal("disable", &["nobody"]).0);
    assert!(!browser.is_signed_in().await);
    assert!(medseal("list", &[]).1.contains("\tdisabled\t"));
    assert!(medseal("enable", &[fields[0]]).0);
}
