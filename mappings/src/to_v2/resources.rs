//! The resources that a message is made of: by type, in the order given, and by what references call them. A Bundle stands
//! for those in it; contained resources are found from the resource that contains them (R4, references.html#contained).

use super::{MAX_RESOURCES, ToV2Error};
use serde_json::Value;
use std::collections::HashMap;

/// A value in a resource, and the resource, in which `#id` references look.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Item<'v> {
    pub value: &'v Value,
    pub root: &'v Value,
}

/// The index.
#[derive(Debug)]
pub(crate) struct Resources<'v> {
    /// In the order given; the envelope is not among them.
    pub all: Vec<Item<'v>>,
    by_type: HashMap<&'v str, Vec<Item<'v>>>,
    by_url: HashMap<String, Item<'v>>,
}

impl<'v> Item<'v> {
    /// A resource itself.
    pub fn resource(value: &'v Value) -> Self {
        Self { value, root: value }
    }

    /// What tells this place from all others while the resources are borrowed.
    pub fn place(self) -> *const Value {
        std::ptr::from_ref(self.value)
    }

    /// The children of that JSON name; the items of an array one by one, without its nulls.
    pub fn children(self, name: &str) -> impl Iterator<Item = Self> + use<'v> {
        let child = self.value.get(name);
        let list = child.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let single = child.filter(|c| !c.is_array());
        let found = single.into_iter().chain(list).filter(|c| !c.is_null());
        found.map(move |value| Self { value, root: self.root })
    }

    fn text(self, name: &str) -> Option<&'v str> {
        self.value.get(name)?.as_str()
    }
}

/// The type of a resource.
pub(crate) fn type_of(value: &Value) -> Option<&str> {
    value.get("resourceType")?.as_str()
}

impl<'v> Resources<'v> {
    pub fn new(values: &'v [Value], envelope: &'v Value) -> Result<Self, ToV2Error> {
        let mut index = Self { all: Vec::new(), by_type: HashMap::new(), by_url: HashMap::new() };
        index.by_type.insert("Envelope", vec![Item::resource(envelope)]);
        for (number, value) in values.iter().enumerate() {
            match type_of(value) {
                Some("Bundle") => index.bundle(value, number)?,
                _ => index.add(value, None, number)?,
            }
        }
        Ok(index)
    }

    fn bundle(&mut self, bundle: &'v Value, number: usize) -> Result<(), ToV2Error> {
        for entry in Item::resource(bundle).children("entry") {
            if let Some(resource) = entry.value.get("resource") {
                self.add(resource, entry.text("fullUrl"), number)?;
            }
        }
        Ok(())
    }

    fn add(&mut self, value: &'v Value, url: Option<&str>, number: usize) -> Result<(), ToV2Error> {
        let item = Item::resource(value);
        let type_name = type_of(value).ok_or(ToV2Error::NotResource(number + 1))?;
        if self.all.len() == MAX_RESOURCES {
            return Err(ToV2Error::TooMany);
        }
        self.all.push(item);
        self.by_type.entry(type_name).or_default().push(item);
        let relative = item.text("id").map(|id| format!("{type_name}/{id}"));
        for name in url.map(str::to_owned).into_iter().chain(relative) {
            self.by_url.entry(name).or_insert(item);
        }
        Ok(())
    }

    /// All resources of a type.
    pub fn of_type(&self, type_name: &str) -> &[Item<'v>] {
        self.by_type.get(type_name).map_or(&[], Vec::as_slice)
    }

    /// The resource that a Reference leads to.
    pub fn resolve(&self, reference: Item<'v>) -> Option<Item<'v>> {
        let text = reference.text("reference")?;
        if let Some(id) = text.strip_prefix('#') {
            let contained = Item::resource(reference.root).children("contained").find(|c| c.text("id") == Some(id));
            return contained.map(|c| Item { root: reference.root, ..c });
        }
        let plain = text.split("/_history/").next().unwrap_or(text);
        self.by_url.get(plain).or_else(|| self.by_url.get(relative(plain)?)).copied()
    }
}

/// `Patient/7` of `https://a.example/fhir/Patient/7`.
fn relative(url: &str) -> Option<&str> {
    let (id, _) = url.rmatch_indices('/').nth(1)?;
    url.get(id + 1..)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_reference_is_resolved_by_url_by_id_and_inside() {
        let values = [
            json!({"resourceType": "Bundle", "entry": [
                {"fullUrl": "urn:uuid:1", "resource": {"resourceType": "Patient", "id": "p"}},
                {"fullUrl": "https://a.example/Group/g"},
            ]}),
            json!({"resourceType": "Observation", "id": "o", "contained": [{"resourceType": "Device", "id": "d"}]}),
        ];
        let envelope = json!({});
        let index = Resources::new(&values, &envelope).unwrap();
        let observation = index.of_type("Observation")[0];
        let found = |text: &str| {
            let reference = json!({"reference": text});
            let item = Item { value: &reference, root: observation.value };
            index.resolve(item).and_then(|i| i.value.get("id")?.as_str().map(str::to_owned))
        };
        for (text, id) in [
            ("urn:uuid:1", Some("p")),
            ("Patient/p", Some("p")),
            ("Patient/p/_history/3", Some("p")),
            ("https://b.example/fhir/Observation/o", Some("o")),
            ("#d", Some("d")),
            ("#x", None),
            ("Patient/q", None),
        ] {
            assert_eq!(found(text).as_deref(), id, "{text}");
        }
    }

    #[test]
    fn what_is_no_resource_is_refused_by_its_number() {
        let values = [json!({"resourceType": "Patient"}), json!({"id": "x"})];
        assert_eq!(Resources::new(&values, &json!({})).unwrap_err(), ToV2Error::NotResource(2));
    }
}
