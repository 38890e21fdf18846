//! The words of the write path: one change, what it is to be done to, and on which condition.

use super::patch::Patch;
use super::search::criterion::Surroundings;
use super::search::query::{self, Filter};
use super::search::text::escape;
use super::validate::Validated;
use crate::error::Issue;
use crate::ids::{ResourceId, TypeName, Version};
use mappings::identity::Identity;

/// One change of the store.
#[derive(Debug, Clone)]
pub struct Write {
    /// The entry of the Bundle that asked for it: what is wrong is told there.
    pub entry: Option<usize>,
    /// The Bundle entry's name of it, which other entries may refer to.
    pub full_url: Option<String>,
    pub act: Act,
}

/// What is to be done.
#[derive(Debug, Clone)]
pub enum Act {
    Create {
        resource: Validated,
        if_none_exist: Option<Criteria>,
    },
    Update {
        target: Target,
        resource: Validated,
    },
    /// Applied by the committer, where nobody can come between.
    Patch {
        target: Target,
        patch: Patch,
    },
    Delete {
        target: Target,
    },
    /// From a message: the resource that this identity names, changed where the message says something.
    Recognise {
        resource: Validated,
        identity: Option<Identity>,
        deleted: Vec<&'static str>,
        weak: bool,
        /// Elements that fill gaps of the stored resource and change nothing.
        gaps: Vec<&'static str>,
    },
}

/// The resource that is to be changed.
#[derive(Debug, Clone)]
pub struct Target {
    pub kind: TypeName,
    pub by: By,
    /// Only if this is its version.
    pub if_match: Option<Version>,
    /// Only if there is none (`If-None-Match: *`, RFC 9110 section 13.1.2).
    pub only_new: bool,
}

/// How a resource is named.
#[derive(Debug, Clone)]
pub enum By {
    Id(ResourceId),
    /// The only one that a search finds.
    Search(Criteria),
}

/// A search that names one resource. Its parameters are known and its values well-formed; the committer reads it again,
/// because what it means depends on where this server is and what time it is.
#[derive(Clone, PartialEq, Eq)]
pub struct Criteria {
    /// Sorted, so that the same condition is the same.
    pub pairs: Vec<(String, String)>,
}

crate::redacted_debug!(Criteria);

impl Write {
    /// A request of its own, in no Bundle.
    pub fn alone(act: Act) -> Self {
        Self { entry: None, full_url: None, act }
    }
}

impl Act {
    /// The type of what it is done to.
    pub fn kind(&self) -> TypeName {
        match self {
            Self::Create { resource, .. } | Self::Recognise { resource, .. } => resource.kind(),
            Self::Update { target, .. } | Self::Patch { target, .. } | Self::Delete { target } => target.kind,
        }
    }

    /// The place in the order that R4 prescribes inside a transaction (3.1.0.11.2).
    pub fn rank(&self) -> u8 {
        match self {
            Self::Delete { .. } => 0,
            Self::Create { .. } | Self::Recognise { .. } => 1,
            Self::Update { .. } | Self::Patch { .. } => 2,
        }
    }

    /// The search that decides what it is done to.
    pub fn criteria(&self) -> Option<&Criteria> {
        match self {
            Self::Create { if_none_exist, .. } => if_none_exist.as_ref(),
            Self::Update { target, .. } | Self::Patch { target, .. } | Self::Delete { target } => match &target.by {
                By::Search(criteria) => Some(criteria),
                By::Id(_) => None,
            },
            Self::Recognise { .. } => None,
        }
    }

    /// The resource that it brings.
    pub fn resource(&self) -> Option<&Validated> {
        match self {
            Self::Create { resource, .. } | Self::Update { resource, .. } | Self::Recognise { resource, .. } => {
                Some(resource)
            }
            Self::Patch { .. } | Self::Delete { .. } => None,
        }
    }
}

/// Reads `W/"3"` or `"3"`.
pub fn if_match(text: &str) -> Option<Version> {
    let text = text.trim();
    Version::parse(text.strip_prefix("W/").unwrap_or(text).strip_prefix('"')?.strip_suffix('"')?)
}

/// Reads the `If-None-Match` of a write. Only `*` is taken: that a resource is not of some version, nobody needs.
pub fn only_new(text: &str) -> Result<bool, Issue> {
    if text.trim() == "*" { Ok(true) } else { Err(Issue::new("not-supported", "If-None-Match: a write takes * alone")) }
}

fn is_about_labels(parameter: &str) -> bool {
    parameter.split(':').next() == Some("_security")
}

impl Criteria {
    /// What has this identifier.
    pub fn identifier(system: &str, value: &str) -> Self {
        Self { pairs: vec![("identifier".to_owned(), format!("{}|{}", escape(system), escape(value)))] }
    }

    /// The id, where that alone is asked for.
    pub fn id(&self) -> Option<ResourceId> {
        match self.pairs.as_slice() {
            [(name, value)] if name == "_id" => ResourceId::parse(value),
            _ => None,
        }
    }

    /// What it asks beside security labels: of those the index knows the stored ones alone, and not what rules add.
    pub fn beside_labels(&self) -> Self {
        Self { pairs: self.pairs.iter().filter(|(name, _)| !is_about_labels(name)).cloned().collect() }
    }

    /// Whether it asks for security labels.
    pub fn asks_labels(&self) -> bool {
        self.pairs.iter().any(|(name, _)| is_about_labels(name))
    }

    /// The filters of the search.
    pub fn filters(&self, kind: TypeName, around: &Surroundings<'_>) -> Result<Vec<Filter>, Issue> {
        let search = query::read(kind, &self.pairs, around).map_err(|e| Issue::new("value", e.to_string()))?;
        let refuse = |text: String| Err(Issue::new("not-supported", text));
        if let Some(name) = search.unknown.first() {
            return refuse(format!("{kind} has no search parameter {name}"));
        }
        if search.filters.is_empty() || search.filters.len() < self.pairs.len() {
            return refuse("a condition takes search parameters, at least one, and nothing else".to_owned());
        }
        if search.filters.iter().any(|f| matches!(f, Filter::Chain { .. } | Filter::Has { .. })) {
            return refuse("a condition takes no chained parameters".to_owned());
        }
        Ok(search.filters)
    }
}

/// Reads the search of a conditional interaction.
pub fn criteria(kind: TypeName, query: &str) -> Result<Criteria, Issue> {
    let query = query.split_once('?').map_or(query, |(_, q)| q);
    let mut pairs = crate::http::query::pairs(query).map_err(|text| Issue::new("value", text))?;
    pairs.retain(|(name, _)| !matches!(name.as_str(), "_format" | "_pretty"));
    pairs.sort();
    let criteria = Criteria { pairs };
    criteria.filters(kind, &Surroundings { base: "", now: 0, labels: None })?;
    Ok(criteria)
}

/// The reference that a conditional reference stands for: `Patient?identifier=system|value`.
pub fn conditional_reference(reference: &str) -> Option<(TypeName, Result<Criteria, Issue>)> {
    let (kind, query) = reference.split_once('?')?;
    let kind = TypeName::parse(kind)?;
    Some((kind, criteria(kind, query)))
}

/// An update names the resource twice, and must name the same one (R4 3.1.0.7).
pub fn same_id(resource: &Validated, id: &ResourceId) -> Result<(), Issue> {
    let path = format!("{}.id", resource.kind());
    match resource.json().text("id") {
        Some(own) if own == id.as_str() => Ok(()),
        Some(_) => Err(Issue::at("value", &path, "must be the id in the URL")),
        None => Err(Issue::at("required", &path, "an update carries the id of its URL")),
    }
}
