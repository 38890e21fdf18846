//! Goes through a resource by the types of R4, with the path of each place.

use crate::fhir::fhirpath::node::{Child, Node};
use crate::fhir::fhirpath::{Budget, Scope};
use mappings::r4::Element;

/// A place in a resource, on the way.
pub struct Place<'p, 'a> {
    pub node: Node<'a>,
    /// The type that it stands in, and its element there; None for a resource at the top.
    pub within: Option<(&'static str, &'static Element)>,
    pub scope: Scope<'a>,
    /// A FHIRPath expression.
    pub path: &'p str,
}

/// Shows each place of a resource, from the top down.
pub fn walk<'a>(resource: Node<'a>, budget: &'a Budget, visit: &mut impl FnMut(&Place<'_, 'a>)) {
    let scope = Scope { resource, root: resource, context: resource, budget };
    below(resource, None, scope, &mut resource.kind.to_owned(), visit);
}

fn below<'a>(
    node: Node<'a>,
    within: Option<(&'static str, &'static Element)>,
    scope: Scope<'a>,
    path: &mut String,
    visit: &mut impl FnMut(&Place<'_, 'a>),
) {
    let scope = Scope { context: node, ..scope };
    visit(&Place { node, within, scope, path });
    if node.is_primitive() && node.shadow.is_none() {
        return;
    }
    for child in node.children() {
        let length = path.len();
        push(path, &child);
        below(child.node, Some((node.kind, child.element)), scope_of(&child, scope), path, visit);
        path.truncate(length);
    }
}

/// `.name[0]`.
fn push(path: &mut String, child: &Child) {
    path.push('.');
    path.push_str(child.name);
    if let Some(index) = child.index {
        path.push_str(&format!("[{index}]"));
    }
}

/// A contained resource has its container as root; any other resource inside stands for itself.
fn scope_of<'a>(child: &Child<'a>, scope: Scope<'a>) -> Scope<'a> {
    match child.element.types.as_slice() {
        ["Resource"] if child.element.name == "contained" => Scope { resource: child.node, ..scope },
        ["Resource"] => Scope { resource: child.node, root: child.node, context: child.node, ..scope },
        _ => scope,
    }
}
