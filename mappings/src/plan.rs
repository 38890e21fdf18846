//! Map files compiled into plans: paths are resolved against R4's elements, conditions parsed, maps and
//! tables linked by number (`compile.rs`, `message.rs`). A map that names an element, map or table that does not exist
//! is refused there, with its row id, before any message arrives.

mod compile;
mod function;
mod message;
mod names;
mod target;
mod when;

use crate::convert::Primitive;
use crate::path::{Label, SegmentName, Source};
use crate::r4::{Name, Type, TypeNumber};
use crate::structure::Structure;
pub(crate) use compile::{map, table};
pub(crate) use message::message;
pub(crate) use names::{Names, Pool};
use std::collections::HashMap;
use std::ops::Range;
pub(crate) use target::resolve;
pub use when::{Bits, Question, Tests, When};

/// A fault in the maps: which file or row, and what is wrong.
#[derive(Debug, thiserror::Error)]
#[error("map {place}: {problem}")]
pub struct PlanError {
    pub place: String,
    pub problem: String,
}

pub(crate) fn fault(place: impl Into<String>, problem: impl ToString) -> PlanError {
    PlanError { place: place.into(), problem: problem.to_string() }
}

/// A text that the maps hold, and the same as JSON.
#[derive(Debug)]
pub struct Constant {
    pub text: String,
    pub json: String,
}

/// The number of a constant in its map set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConstantId(pub u32);

/// A compiled table.
#[derive(Debug)]
pub struct Table {
    pub name: String,
    pub rows: HashMap<String, CompiledRow, foldhash::fast::RandomState>,
}

/// What a code becomes.
#[derive(Debug)]
pub struct CompiledRow {
    pub to: String,
    /// The coding's parts, in the order in which they are written.
    pub coding: Vec<(Name, ConstantId)>,
}

/// A resolved target step.
#[derive(Debug, Clone)]
pub enum Hop {
    /// An element; `object` is its type where it is a structure.
    Element {
        name: Name,
        label: Label,
        repeats: bool,
        object: Option<TypeNumber>,
    },
    Through(TypeNumber),
}

/// A resolved target: where to go, and what stands there.
#[derive(Debug, Clone)]
pub struct Target {
    pub hops: Vec<Hop>,
    pub type_name: &'static str,
    pub primitive: Option<Primitive>,
    /// The last element is an array.
    pub repeats: bool,
    /// Some element on the way is an array: further repetitions have their place.
    pub can_repeat: bool,
    pub codes: Option<&'static [&'static str]>,
}

/// What a rule does at its target.
#[derive(Debug)]
pub enum Action {
    /// Converts the source's text to the target's primitive type.
    Convert,
    /// Applies datatype map number n.
    With(usize),
    Constant(ConstantId),
    Concat(Vec<Piece>),
    First(Vec<Piece>),
    /// The first valued one of each repetition for which the rule holds: one text, each once.
    Gather(Vec<Piece>),
    /// The valued ones, with a text between them.
    Join(String, Vec<Piece>),
    Base64(Piece),
    /// All of it, separators that nobody escaped included.
    Whole(Piece),
    /// All repetitions of a field, a line each.
    Lines(Source),
    /// A time, a number and a unit.
    Add([Piece; 3]),
    Now,
    /// A reference to the message's resource of that type.
    The(TypeNumber),
    /// A number and a unit of time, in minutes.
    Minutes([Piece; 2]),
    /// The digits of a text.
    Digits(Piece),
    /// The letters of a text.
    Letters(Piece),
    /// What stands behind a comparator such as `<`.
    Number(Piece),
    /// The hash of the map set.
    Maps,
    /// The trigger event.
    Event,
}

/// An argument of a function.
#[derive(Debug)]
pub enum Piece {
    Path(Source),
    Text(String),
}

/// The number of a rule in its map set; its name is `PID[Patient]/PID-7`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RuleId(pub u32);

/// A compiled rule of a segment or datatype map.
#[derive(Debug)]
pub struct Rule {
    pub id: RuleId,
    pub source: Source,
    pub when: Option<When>,
    pub target: Target,
    pub action: Action,
    pub table: Option<usize>,
    pub because: Option<String>,
    /// It fills a gap of the stored resource and changes nothing.
    pub gap: bool,
    /// Another rule of the map keeps the time of day that this one's date has no place for.
    pub clock_kept: bool,
}

/// How a resource is recognised.
#[derive(Debug)]
pub enum Identify {
    Identifier { prefer: Vec<String> },
    Parts(Vec<IdentityPart>),
}

#[derive(Debug)]
pub enum IdentityPart {
    /// Which of those with the same other parts it is in the message.
    Nth,
    Path(Source),
    Resource(TypeNumber),
}

/// What the rules of a group read first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// A field of the map's own segment.
    Own(u16),
    /// A field of another segment.
    Other(SegmentName, u16),
    /// A component of the value that a datatype map was given.
    Part(u16),
    /// The segment as a whole, or the value that a datatype map was given.
    Whole,
}

/// A compiled segment or datatype map.
#[derive(Debug)]
pub struct Plan {
    pub name: String,
    /// The segment that its field numbers speak of; none: a datatype.
    pub source: Option<SegmentName>,
    pub of_segment: bool,
    pub target: &'static Type,
    pub identity: Vec<Identify>,
    /// The resource types that the identity speaks of.
    pub needs: Vec<TypeNumber>,
    pub rules: Vec<Rule>,
    /// Neighbouring rules of one field or component, so that an empty one is passed over once.
    pub groups: Vec<(Group, Range<u32>)>,
    /// What the conditions ask once for a segment, a repetition, or the value that a datatype map was given.
    pub tests: Tests,
    /// Fields that the map knows and leaves alone.
    pub known: Vec<u16>,
    /// Fields of which nothing is told where another field says the same.
    pub same: Vec<(u16, SegmentName, u16)>,
}

/// `Patient[1]`, and perhaps an element inside it.
#[derive(Debug, Clone)]
pub struct Slotted {
    pub kind: TypeNumber,
    pub label: u16,
    pub target: Target,
}

/// The right side of a `set`.
#[derive(Debug)]
pub enum Given {
    Resource { kind: TypeNumber, label: u16 },
    Constant(ConstantId),
}

/// One `set` of a message rule.
#[derive(Debug)]
pub struct Assignment {
    /// For every resource of that label in the group, not only for the present one.
    pub each: bool,
    pub left: Slotted,
    pub given: Given,
}

/// A compiled row of a message map.
#[derive(Debug)]
pub struct MessageRule {
    pub id: RuleId,
    pub when: Option<When>,
    pub to: Slotted,
    /// The segment map; none only takes the resource up.
    pub with: Option<usize>,
    pub set: Vec<Assignment>,
    /// The resource is spoken of second-hand.
    pub weak: bool,
}

/// A compiled message map.
#[derive(Debug)]
pub struct MessagePlan {
    pub name: String,
    pub structure: Structure,
    /// The rules of each slot of the structure.
    pub rules: Vec<Vec<MessageRule>>,
    /// What the conditions of the rules ask once for a segment.
    pub tests: Tests,
    /// Resources that an `each` goes back to, and the group that its rule stands in.
    pub remembered: Vec<(TypeNumber, u16, usize)>,
}
