//! Target paths, resolved against R4's elements.

use super::{Hop, PlanError, Target, fault};
use crate::convert::Primitive;
use crate::path::{Label, Step};
use crate::r4::{self, Found, Name};

/// Walks a target path from a type through R4's elements.
pub(crate) fn resolve(steps: &[Step], start: &'static str, id: &str) -> Result<Target, PlanError> {
    let primitive = Primitive::of(start);
    let mut target = Target {
        hops: Vec::new(),
        type_name: start,
        primitive,
        repeats: false,
        can_repeat: steps.is_empty(),
        codes: None,
    };
    for step in steps {
        match step {
            Step::Through(type_name) => through(&mut target, type_name, id)?,
            Step::Element { name, label } => element(&mut target, name, *label, id)?,
        }
    }
    Ok(target)
}

fn through(target: &mut Target, type_name: &str, id: &str) -> Result<(), PlanError> {
    let model = r4::model().get(type_name).filter(|_| target.type_name == "Reference");
    let model = model.ok_or_else(|| fault(id, format!("no reference to {type_name} here")))?;
    target.hops.push(Hop::Through(model.number));
    (target.type_name, target.primitive, target.repeats, target.codes) = (model.name, None, false, None);
    Ok(())
}

fn element(target: &mut Target, name: &str, label: Label, id: &str) -> Result<(), PlanError> {
    // What lies inside a primitive is what every element has: its extensions.
    let owner = if target.primitive.is_some() { "Element" } else { target.type_name };
    let found = r4::model().get(owner).and_then(|t| t.element(name));
    let Some((Found { element, type_name }, name)) = found.zip(Name::of(name)) else {
        return Err(fault(id, format!("{} has no element {name}", target.type_name)));
    };
    let primitive = Primitive::of(type_name);
    let object = r4::model().get(type_name).map(|t| t.number).filter(|_| primitive.is_none());
    target.hops.push(Hop::Element { name, label, repeats: element.repeats, object });
    target.can_repeat |= element.repeats;
    (target.type_name, target.primitive) = (type_name, primitive);
    (target.repeats, target.codes) = (element.repeats, element.codes);
    Ok(())
}
