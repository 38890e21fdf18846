//! FHIRPath, as far as the constraints of FHIR R4 and of implementation guides use it (FHIRPath N1). A text is parsed once;
//! what this module does not know is refused then, so that an expression is judged fully or not at all.
//! Types come from the table of R4's elements. Pure; it resolves references to contained resources only.

mod eval;
mod functions;
mod lex;
pub mod node;
mod parse;

use node::{Item, Node};
use regex::Regex;
use std::cell::Cell;

/// A parsed expression.
#[derive(Debug, Clone)]
pub struct Path(Expr);

/// Where an expression is evaluated.
#[derive(Debug, Clone, Copy)]
pub struct Scope<'a> {
    /// `%resource`.
    pub resource: Node<'a>,
    /// `%rootResource`: the container of a contained resource.
    pub root: Node<'a>,
    /// `%context`.
    pub context: Node<'a>,
    pub budget: &'a Budget,
}

/// Steps that evaluation may still take. Some expressions compare all with all: what comes from outside must not make that
/// last for hours. Where it is spent, nothing more is evaluated.
#[derive(Debug)]
pub struct Budget(Cell<u64>);

impl Budget {
    /// So many steps.
    pub fn new(steps: u64) -> Self {
        Self(Cell::new(steps))
    }

    /// Whether something was not evaluated for it.
    pub fn is_spent(&self) -> bool {
        self.0.get() == 0
    }

    fn spend(&self, steps: usize) -> Option<()> {
        let left = self.0.get().saturating_sub(steps as u64);
        self.0.set(left);
        (left > 0).then_some(())
    }
}

impl Path {
    /// Reads an expression. The error says what is not understood.
    pub fn parse(text: &str) -> Result<Self, String> {
        parse::expression(text).map(Self)
    }

    /// What the expression says of a node; None where it gives nothing, or cannot be evaluated.
    pub fn holds<'a>(&'a self, scope: &Scope<'a>) -> Option<bool> {
        eval::truth(&self.items(scope)?)
    }

    /// What the expression finds; None where it cannot be evaluated.
    pub fn items<'a>(&'a self, scope: &Scope<'a>) -> Option<Vec<Item<'a>>> {
        eval::eval(&self.0, &[Item::Node(scope.context)], scope)
    }
}

#[derive(Debug, Clone)]
enum Expr {
    This,
    Resource,
    RootResource,
    Context,
    Empty,
    Bool(bool),
    Number(f64),
    Text(String),
    /// A name at the start of a path: a child of the focus, or the focus itself where it is the name of its type.
    Name(String),
    Member(Box<Expr>, String),
    Index(Box<Expr>, usize),
    Call(Box<Expr>, functions::Function, Vec<Expr>),
    Matches(Box<Expr>, Regex),
    ReplaceMatches(Box<Expr>, Regex, String),
    Is(Box<Expr>, String),
    As(Box<Expr>, String),
    Minus(Box<Expr>),
    Binary(Operator, Box<Expr>, Box<Expr>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Times,
    Divide,
    Div,
    Mod,
    Plus,
    Subtract,
    Join,
    Union,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Equal,
    NotEqual,
    Equivalent,
    NotEquivalent,
    In,
    Contains,
    And,
    Or,
    Xor,
    Implies,
}

#[cfg(test)]
mod tests {
    use super::*;
    use notary::canonical::Json;

    #[test]
    fn expressions_give_what_the_specification_says() {
        let cases: serde_json::Value = serde_json::from_str(include_str!("cases.json")).unwrap();
        let resource = Json::parse(cases["resource"].to_string().as_bytes()).unwrap();
        let node = Node::resource(&resource).unwrap();
        let budget = Budget::new(1_000_000);
        let scope = Scope { resource: node, root: node, context: node, budget: &budget };
        for case in cases["cases"].as_array().unwrap() {
            let (text, expected) = (case[0].as_str().unwrap(), case[1].as_bool());
            let path = Path::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!(path.holds(&scope), expected, "{text}");
        }
    }

    #[test]
    fn an_expression_that_would_last_for_hours_ends() {
        let items = (0..10_000).map(|n| format!(r#"{{"text":"{n}"}}"#)).collect::<Vec<_>>().join(",");
        let json = Json::parse(format!(r#"{{"resourceType":"Observation","note":[{items}]}}"#).as_bytes()).unwrap();
        let node = Node::resource(&json).unwrap();
        let budget = Budget::new(1_000_000);
        let scope = Scope { resource: node, root: node, context: node, budget: &budget };
        let path = Path::parse("note.where(%resource.note.intersect(%resource.note).exists()).exists()").unwrap();
        assert_eq!(path.holds(&scope), None);
        assert!(budget.is_spent());
    }

    #[test]
    fn what_is_not_known_is_refused_when_it_is_read() {
        for text in
            ["a.memberOf('x')", "a +", "(a", "a = 'b", "a.matches(b)", "%other", "a b", "a.where()", "a.matches('(')"]
        {
            assert!(Path::parse(text).is_err(), "{text}");
        }
        assert!(Path::parse(&"(".repeat(100_000)).is_err());
        assert!(Path::parse(&format!("a{}", ".b".repeat(100_000))).is_err());
    }
}
