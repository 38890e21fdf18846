//! Names of things: newtypes that remember what was checked.

use mappings::r4;
use std::fmt;

/// An R4 resource type that exists.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TypeName(&'static str);

/// A FHIR logical id: 1 to 64 letters, digits, `-` and `.` (R4 2.24.0.1).
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ResourceId(String);

/// The number of a version, from 1.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Version(pub u32);

/// `Type/id`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name {
    pub kind: TypeName,
    pub id: ResourceId,
}

/// Whose data key seals a record: a patient's id, or the custodian itself.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Owner(String);

impl TypeName {
    /// The type of that name, if R4 has it.
    pub fn parse(text: &str) -> Option<Self> {
        r4::model().get(text).filter(|t| t.kind == r4::Kind::Resource).map(|t| Self(t.name))
    }

    /// Its name.
    pub fn as_str(self) -> &'static str {
        self.0
    }
}

impl ResourceId {
    /// Reads an id. `.` and `..` are steps of an address: clients and proxies would fold them away (RFC 3986 section 5.2.4).
    pub fn parse(text: &str) -> Option<Self> {
        let fits = r4::is_valid_text("id", text) && !matches!(text, "." | "..");
        fits.then(|| Self(text.to_owned()))
    }

    /// An id from 16 bytes, random or keyed: a UUID in form.
    pub fn from_bytes(mut bytes: [u8; 16]) -> Self {
        bytes[6] = (bytes[6] & 0x0f) | 0x40;
        bytes[8] = (bytes[8] & 0x3f) | 0x80;
        let hex = hex::encode(bytes);
        Self(format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]))
    }

    /// The id.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Version {
    /// Reads a version id as this server makes them: a positive number.
    pub fn parse(text: &str) -> Option<Self> {
        text.parse().ok().filter(|n: &u32| *n > 0 && n.to_string() == text).map(Self)
    }

    /// The version after this one.
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl Name {
    /// Reads `Type/id`.
    pub fn parse(text: &str) -> Option<Self> {
        let (kind, id) = text.split_once('/')?;
        Some(Self { kind: TypeName::parse(kind)?, id: ResourceId::parse(id)? })
    }
}

impl Owner {
    /// What belongs to no patient.
    pub fn custodian() -> Self {
        Self(".custodian".to_owned())
    }

    /// A patient's own. The slash is in no id, so that no patient can be called like a key of the server's.
    pub fn patient(id: &ResourceId) -> Self {
        Self(format!("Patient/{}", id.0))
    }

    /// The patient whose key it is.
    pub fn of_patient(name: &Name) -> Option<Self> {
        (name.kind.as_str() == "Patient").then(|| Self::patient(&name.id))
    }

    /// Whether it is a patient's: keys of the server begin with a dot.
    pub fn is_patient(&self) -> bool {
        self.0.starts_with("Patient/")
    }

    /// The patient, where it is one's.
    pub fn as_patient(&self) -> Option<Name> {
        if self.is_patient() { Name::parse(&self.0) } else { None }
    }

    /// As the pack and the index name it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Reads what `as_str` gave.
    pub fn from_stored(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Display for TypeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl fmt::Display for ResourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind, self.id)
    }
}

macro_rules! debug_as_display {
    ($($name:ident),*) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }
    )*};
}
debug_as_display!(TypeName, ResourceId, Name);

impl fmt::Debug for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Owner({})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        assert_eq!(Name::parse("Patient/a-1").map(|n| n.to_string()).as_deref(), Some("Patient/a-1"));
        for bad in [
            "Patient",
            "Patientt/1",
            "Patient/",
            "Patient/a_b",
            "HumanName/1",
            "Patient/1/2",
            "Patient/.",
            "Patient/..",
        ] {
            assert!(Name::parse(bad).is_none(), "{bad}");
        }
        assert_eq!(Version::parse("7"), Some(Version(7)));
        assert!(["0", "07", "x", "-1", "99999999999"].iter().all(|t| Version::parse(t).is_none()));
    }

    #[test]
    fn ids_from_bytes_are_uuids() {
        let id = ResourceId::from_bytes([0xff; 16]);
        assert_eq!(id.as_str(), "ffffffff-ffff-4fff-bfff-ffffffffffff");
        assert!(ResourceId::parse(id.as_str()).is_some());
    }
}
