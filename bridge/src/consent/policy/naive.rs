//! The same decision once more, by somebody who has not seen the first: all provisions in one flat list, from the JSON
//! as it stands, with as little cleverness as possible. For tests alone.

#![cfg(test)]

use serde_json::Value;

/// -1: does not fit. 0: nobody knows. 1: fits.
type Answer = i8;

/// An access, in the words of the JSON.
#[derive(Clone)]
pub struct Request<'r> {
    pub actors: Vec<String>,
    pub purpose: String,
    pub action: String,
    pub now: &'r str,
    pub resource: &'r Value,
    /// What each Consent rests on, in their order: `none`, a grant that `stands`, or how it does not.
    pub grants: &'r [&'r str],
    /// Whether a purpose is permitted by default; `opt_out`: any other.
    pub defaults: &'r [(&'r str, bool)],
    pub opt_out: bool,
    pub newest: bool,
    /// For which purpose an emergency was declared, and what it goes before: `nothing`, what is `unrefused`, or `all`.
    pub emergency: Option<(&'r str, &'r str)>,
}

/// Whether it is permitted.
pub fn permits(consents: &[Value], request: &Request<'_>) -> bool {
    if by_consents(consents, request) {
        return true;
    }
    let Some((purpose, before)) = request.emergency else { return false };
    let urgent = Request { purpose: purpose.to_owned(), ..request.clone() };
    match before {
        "nothing" => false,
        "all" => true,
        _ => by_consents(consents, &urgent) || !consents.iter().any(|consent| refuses(consent, &urgent)),
    }
}

fn by_consents(consents: &[Value], request: &Request<'_>) -> bool {
    let mut said: Vec<(String, char)> = consents
        .iter()
        .zip(request.grants)
        .map(|(consent, grant)| {
            (consent["dateTime"].as_str().unwrap_or("").to_owned(), say_under(grant, consent, request))
        })
        .filter(|(_, word)| *word != '-')
        .collect();
    if request.newest {
        let newest = said.iter().map(|(given, _)| given.clone()).max().unwrap_or_default();
        said.retain(|(given, _)| *given == newest);
    }
    let words: Vec<char> = said.into_iter().map(|(_, word)| word).collect();
    if words.contains(&'d') {
        false
    } else if words.contains(&'p') {
        true
    } else {
        !words.contains(&'w') && by_default(request)
    }
}

/// The purpose itself, else what it is a kind of, from near to far.
fn by_default(request: &Request<'_>) -> bool {
    let listed = |kind: &&str| request.defaults.iter().find(|(purpose, _)| purpose == kind);
    kinds(&request.purpose).iter().find_map(listed).map_or(request.opt_out, |(_, permitted)| *permitted)
}

/// What a purpose is, from near to far.
fn kinds(purpose: &str) -> Vec<&str> {
    match purpose {
        "BTG" => vec!["BTG", "ETREAT", "TREAT"],
        "ETREAT" => vec!["ETREAT", "TREAT"],
        other => vec![other],
    }
}

/// What a Consent says whose grant may not stand: it permits nothing then, and withholds from whom it speaks of; but one that has ended in
/// its time and has nothing to say is silent.
fn say_under(grant: &str, consent: &Value, request: &Request<'_>) -> char {
    let stands = matches!(grant, "none" | "stands");
    // A period is what ends: whom it speaks of it does whenever.
    let mut whenever = consent["provision"].clone();
    whenever.as_object_mut().unwrap().remove("period");
    let speaks_of = frame(&[&whenever], request) >= 0;
    match say(consent, request) {
        word if stands || consent["status"] != "active" => word,
        'p' => 'w',
        '-' if grant != "lapsed" && speaks_of => 'w',
        word => word,
    }
}

/// Whether it refuses an emergency in so many words: a denial that speaks, and names emergencies or is within one that does.
fn refuses(consent: &Value, request: &Request<'_>) -> bool {
    if consent["status"] != "active" {
        return false;
    }
    if consent.to_string().contains("modifierExtension") {
        return true;
    }
    let mut all = Vec::new();
    flatten(&consent["provision"], &mut Vec::new(), &mut all);
    let names = |provision: &&Value| {
        items(&provision["purpose"]).iter().any(|purpose| purpose["code"] == "ETREAT" || purpose["code"] == "BTG")
    };
    let speaking: Vec<&Vec<&Value>> = all.iter().filter(|chain| speaks(chain, request)).collect();
    speaking.iter().any(|chain| {
        let silent = speaking.iter().any(|longer| begins_with(longer, chain));
        chain.last().unwrap()["type"] == "deny" && chain.iter().any(names) && !silent
    })
}

/// Whether a provision applies: a permission surely, a prohibition perhaps.
fn speaks(chain: &[&Value], request: &Request<'_>) -> bool {
    let fits = frame(chain, request).min(matter(chain, request));
    if chain.last().unwrap()["type"] == "permit" { fits == 1 } else { fits >= 0 }
}

/// d: denies, p: permits, w: permits other things, -: says nothing.
fn say(consent: &Value, request: &Request<'_>) -> char {
    if consent["status"] != "active" {
        return '-';
    }
    let text = consent.to_string();
    if text.contains("modifierExtension") {
        return 'd';
    }
    let mut all = Vec::new();
    flatten(&consent["provision"], &mut Vec::new(), &mut all);
    let speaks: Vec<bool> = all.iter().map(|chain| speaks(chain, request)).collect();
    // Who has an exception that speaks is silent.
    let loud: Vec<&str> = (0..all.len())
        .filter(|n| speaks[*n])
        .filter(|n| !(0..all.len()).any(|m| m != *n && speaks[m] && begins_with(&all[m], &all[*n])))
        .map(|n| all[n].last().unwrap()["type"].as_str().unwrap())
        .collect();
    let root = &consent["provision"];
    match () {
        () if loud.contains(&"deny") => 'd',
        () if loud.contains(&"permit") => 'p',
        () if root["type"] == "permit" && frame(&[root], request) >= 0 => 'w',
        () if text.contains("OPTOUT") => 'w',
        () => '-',
    }
}

fn flatten<'j>(provision: &'j Value, chain: &mut Vec<&'j Value>, all: &mut Vec<Vec<&'j Value>>) {
    chain.push(provision);
    all.push(chain.clone());
    for one in items(&provision["provision"]) {
        flatten(one, chain, all);
    }
    chain.pop();
}

fn begins_with(long: &[&Value], short: &[&Value]) -> bool {
    long.len() > short.len() && long.iter().zip(short).all(|(a, b)| std::ptr::eq(*a, *b))
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// The best answer of a list, which fits if it is empty.
fn best(list: &Value, answer: impl Fn(&Value) -> Answer) -> Answer {
    if items(list).is_empty() { 1 } else { items(list).iter().map(answer).max().unwrap() }
}

fn yes(fits: bool) -> Answer {
    if fits { 1 } else { -1 }
}

fn frame(chain: &[&Value], request: &Request<'_>) -> Answer {
    let of = |provision: &&Value| {
        let purpose = best(&provision["purpose"], |purpose| {
            yes(kinds(&request.purpose).contains(&purpose["code"].as_str().unwrap()))
        });
        let actor = best(&provision["actor"], |actor| {
            let receives = actor["role"]["coding"][0]["code"] == "IRCP";
            let named = request.actors.iter().any(|one| actor["reference"]["reference"] == **one);
            if receives { yes(named) } else { 0 }
        });
        let action = best(&provision["action"], |action| match action["coding"][0]["code"].as_str().unwrap() {
            "peruse" => 0,
            code => yes(code == request.action),
        });
        // All periods of the tests are of whole days, and now is on one.
        let period = &provision["period"];
        let (start, end) = (period["start"].as_str().unwrap_or("0000"), period["end"].as_str().unwrap_or("9999"));
        let period = if end == "soon" { 0 } else { yes(start <= request.now && request.now <= end) };
        purpose.min(actor).min(action).min(period)
    };
    chain.iter().map(of).min().unwrap()
}

fn matter(chain: &[&Value], request: &Request<'_>) -> Answer {
    let nearest = |name: &str| chain.iter().rev().find(|provision| !provision[name].is_null());
    let resource = request.resource;
    let text = resource.to_string();
    let mut worst = 1;
    if let Some(provision) = nearest("securityLabel") {
        worst = worst.min(labels(provision, resource));
    }
    if let Some(provision) = nearest("class") {
        worst = worst.min(best(&provision["class"], |class| {
            if class["system"] == "urn:x" { 0 } else { yes(class["code"] == resource["resourceType"]) }
        }));
    }
    if let Some(provision) = nearest("code") {
        worst = worst.min(best(&provision["code"], |code| match code["coding"][0]["code"].as_str() {
            None => 0,
            Some(code) => yes(text.contains(&format!("\"code\":\"{code}\""))),
        }));
    }
    if let Some(provision) = nearest("dataPeriod") {
        // Periods of the tests are of whole years, and resources of one day.
        let period = &provision["dataPeriod"];
        let (start, end) = (period["start"].as_str().unwrap_or("0000"), period["end"].as_str().unwrap_or("9999"));
        worst = worst.min(match resource["effectiveDateTime"].as_str() {
            _ if end == "soon" => 0,
            None => 0,
            Some(day) => yes(start <= &day[..4] && &day[..4] <= end),
        });
    }
    if let Some(provision) = nearest("data") {
        worst = worst.min(best(&provision["data"], |data| {
            let named = data["reference"]["reference"].as_str().unwrap();
            match data["meaning"].as_str().unwrap() {
                "instance" => yes(named == "Observation/o"),
                "related" => yes(named == "Observation/o" || text.contains(&format!("\"reference\":\"{named}\""))),
                "authoredby" => yes(resource["performer"].to_string().contains(named)),
                _ => 0,
            }
        }));
    }
    worst
}

fn labels(provision: &Value, resource: &Value) -> Answer {
    let codes = |list: &Value| -> Vec<String> {
        items(list).iter().map(|label| label["code"].as_str().unwrap().to_owned()).collect()
    };
    let split =
        |all: Vec<String>| -> (Vec<String>, Vec<String>) { all.into_iter().partition(|code| "NRV".contains(code)) };
    let (asked, sorts) = split(codes(&provision["securityLabel"]));
    let (own, mine) = split(codes(&resource["meta"]["security"]));
    // N, R, V are in the order of the alphabet.
    let height = own.into_iter().max().unwrap_or_else(|| "N".to_owned());
    let kind = |mine: &str, listed: &str| mine == listed || (mine == "ETHUD" && listed == "ETH");
    let touched = |listed: &String| mine.iter().any(|mine| kind(mine, listed));
    if provision["type"] == "permit" {
        let low = asked.is_empty() || asked.into_iter().max().unwrap() >= height;
        let all = mine.iter().all(|mine| sorts.iter().any(|listed| kind(mine, listed)));
        yes(low && (sorts.is_empty() || (sorts.iter().any(touched) && all)))
    } else {
        yes(asked.into_iter().min().is_some_and(|least| height >= least) || sorts.iter().any(touched))
    }
}
