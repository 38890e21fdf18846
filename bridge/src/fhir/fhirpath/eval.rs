//! Evaluates an expression on a collection. None: it cannot be evaluated there, and nothing is to be concluded.

use super::node::{Child, Item, Node};
use super::{Expr, Operator, Scope, functions};
use notary::canonical::Json;
use std::borrow::Cow;
use std::cmp::Ordering;

/// What an expression finds, seen from `this`.
pub(super) fn eval<'a>(expr: &'a Expr, this: &[Item<'a>], scope: &Scope<'a>) -> Option<Vec<Item<'a>>> {
    scope.budget.spend(1 + this.len())?;
    Some(match expr {
        Expr::This => this.to_vec(),
        Expr::Resource => vec![Item::Node(scope.resource)],
        Expr::RootResource => vec![Item::Node(scope.root)],
        Expr::Context => vec![Item::Node(scope.context)],
        Expr::Empty => Vec::new(),
        Expr::Bool(value) => vec![Item::Bool(*value)],
        Expr::Number(value) => vec![Item::Number(*value)],
        Expr::Text(text) => vec![Item::Text(Cow::Borrowed(text))],
        Expr::Name(name) => start(this, name, scope)?,
        Expr::Member(of, name) => members(&eval(of, this, scope)?, name, scope)?,
        Expr::Index(of, index) => eval(of, this, scope)?.into_iter().nth(*index).into_iter().collect(),
        Expr::Call(of, function, arguments) => {
            let items = eval(of, this, scope)?;
            functions::call(*function, items, arguments, this, scope)?
        }
        Expr::Matches(of, regex) => match one_text(&eval(of, this, scope)?)? {
            Some(text) => vec![Item::Bool(regex.is_match(&text))],
            None => Vec::new(),
        },
        Expr::ReplaceMatches(of, regex, by) => match one_text(&eval(of, this, scope)?)? {
            Some(text) => vec![Item::Text(Cow::Owned(regex.replace_all(&text, by.as_str()).into_owned()))],
            None => Vec::new(),
        },
        Expr::Is(of, name) => eval(of, this, scope)?.iter().map(|item| Item::Bool(is(item, name))).collect(),
        Expr::As(of, name) => eval(of, this, scope)?.into_iter().filter(|item| is(item, name)).collect(),
        Expr::Minus(of) => match number(&eval(of, this, scope)?)? {
            Some(number) => vec![Item::Number(-number)],
            None => Vec::new(),
        },
        Expr::Binary(operator, left, right) => binary(*operator, left, right, this, scope)?,
    })
}

/// The truth of a collection: its one boolean, or that it is one thing (FHIRPath N1 4.5).
pub(super) fn truth(items: &[Item]) -> Option<bool> {
    match items {
        [item] => Some(boolean(item).unwrap_or(true)),
        _ => None,
    }
}

fn boolean(item: &Item) -> Option<bool> {
    match item {
        Item::Bool(value) | Item::Node(Node { json: Json::Bool(value), .. }) => Some(*value),
        _ => None,
    }
}

fn start<'a>(this: &[Item<'a>], name: &str, scope: &Scope<'a>) -> Option<Vec<Item<'a>>> {
    let named = |item: &&Item| matches!(item, Item::Node(node) if node.kind == name);
    let own: Vec<Item> = this.iter().filter(named).cloned().collect();
    if own.is_empty() { members(this, name, scope) } else { Some(own) }
}

fn members<'a>(items: &[Item<'a>], name: &str, scope: &Scope<'a>) -> Option<Vec<Item<'a>>> {
    let mut children: Vec<Child> = Vec::new();
    for item in items {
        if let Item::Node(node) = item {
            node.named(name, &mut children);
        }
    }
    scope.budget.spend(children.len())?;
    Some(children.into_iter().map(|child| Item::Node(child.node)).collect())
}

fn is(item: &Item, name: &str) -> bool {
    match item {
        Item::Node(node) => node.is(name),
        Item::Bool(_) => name.eq_ignore_ascii_case("boolean"),
        Item::Number(_) => matches!(name, "Integer" | "Decimal" | "integer" | "decimal"),
        Item::Text(_) => matches!(name, "String" | "string"),
    }
}

/// The text of a collection of one; Some(None) of none.
pub(super) fn one_text<'a>(items: &[Item<'a>]) -> Option<Option<Cow<'a, str>>> {
    match items {
        [] => Some(None),
        [item] => text(item).map(Some),
        _ => None,
    }
}

/// A single thing as text.
pub(super) fn text<'a>(item: &Item<'a>) -> Option<Cow<'a, str>> {
    match item {
        Item::Text(text) => Some(text.clone()),
        Item::Number(number) => Some(Cow::Owned(number.to_string())),
        Item::Bool(value) => Some(Cow::Borrowed(if *value { "true" } else { "false" })),
        Item::Node(node) => match node.json {
            Json::String(text) => Some(Cow::Borrowed(text)),
            Json::Number(lexeme) => Some(Cow::Borrowed(lexeme)),
            Json::Bool(value) => Some(Cow::Borrowed(if *value { "true" } else { "false" })),
            _ => None,
        },
    }
}

/// The number of a collection of one; Some(None) of none. Only compared, never stored: a float will do.
pub(super) fn number(items: &[Item]) -> Option<Option<f64>> {
    match items {
        [] => Some(None),
        [item] => number_of(item).map(Some),
        _ => None,
    }
}

fn number_of(item: &Item) -> Option<f64> {
    match item {
        Item::Number(number) => Some(*number),
        Item::Node(Node { json: Json::Number(lexeme), .. }) => lexeme.parse().ok(),
        _ => None,
    }
}

fn binary<'a>(
    operator: Operator,
    left: &'a Expr,
    right: &'a Expr,
    this: &[Item<'a>],
    scope: &Scope<'a>,
) -> Option<Vec<Item<'a>>> {
    let left = eval(left, this, scope)?;
    if let Some(decided) = decided(operator, &left) {
        return Some(vec![Item::Bool(decided)]);
    }
    let right = eval(right, this, scope)?;
    scope.budget.spend(cost(operator, left.len(), right.len()))?;
    match operator {
        Operator::And | Operator::Or | Operator::Xor | Operator::Implies => {
            Some(bools(logic(operator, &left, &right)?))
        }
        Operator::Union => distinct(left.into_iter().chain(right).collect(), scope),
        Operator::Join => Some(vec![joined(&left, &right)?]),
        Operator::Equal => Some(bools(equal(&left, &right))),
        Operator::NotEqual => Some(bools(equal(&left, &right).map(|same| !same))),
        Operator::Equivalent => Some(vec![Item::Bool(equivalent(&left, &right))]),
        Operator::NotEquivalent => Some(vec![Item::Bool(!equivalent(&left, &right))]),
        Operator::In => Some(bools(within(&left, &right)?)),
        Operator::Contains => Some(bools(within(&right, &left)?)),
        Operator::Less | Operator::LessOrEqual | Operator::Greater | Operator::GreaterOrEqual => {
            Some(bools(compared(operator, &left, &right)?))
        }
        _ => arithmetic(operator, &left, &right),
    }
}

/// These look at all with all.
fn cost(operator: Operator, left: usize, right: usize) -> usize {
    match operator {
        Operator::Equivalent | Operator::NotEquivalent => left.saturating_mul(right),
        _ => left + right,
    }
}

fn bools<'a>(value: Option<bool>) -> Vec<Item<'a>> {
    value.map(Item::Bool).into_iter().collect()
}

/// What the left side alone decides: most constraints are `x.empty() or ...`.
fn decided(operator: Operator, left: &[Item]) -> Option<bool> {
    match (operator, truth(left)?) {
        (Operator::Or, true) | (Operator::Implies, false) => Some(true),
        (Operator::And, false) => Some(false),
        _ => None,
    }
}

/// Three-valued logic (FHIRPath N1 6.5).
fn logic(operator: Operator, left: &[Item], right: &[Item]) -> Option<Option<bool>> {
    if left.len() > 1 || right.len() > 1 {
        return None;
    }
    Some(match (operator, truth(left), truth(right)) {
        (Operator::And, Some(false), _) | (Operator::And, _, Some(false)) => Some(false),
        (Operator::And, Some(true), Some(true)) => Some(true),
        (Operator::Or, Some(true), _) | (Operator::Or, _, Some(true)) => Some(true),
        (Operator::Or, Some(false), Some(false)) => Some(false),
        (Operator::Xor, Some(a), Some(b)) => Some(a != b),
        (Operator::Implies, Some(false), _) | (Operator::Implies, _, Some(true)) => Some(true),
        (Operator::Implies, Some(true), Some(false)) => Some(false),
        _ => None,
    })
}

fn joined<'a>(left: &[Item<'a>], right: &[Item<'a>]) -> Option<Item<'a>> {
    let (left, right) = (one_text(left)?.unwrap_or_default(), one_text(right)?.unwrap_or_default());
    Some(Item::Text(Cow::Owned(format!("{left}{right}"))))
}

fn equal(left: &[Item], right: &[Item]) -> Option<bool> {
    if left.is_empty() || right.is_empty() {
        return None;
    }
    Some(left.len() == right.len() && left.iter().zip(right).all(|(a, b)| same(a, b)))
}

fn equivalent(left: &[Item], right: &[Item]) -> bool {
    let like = |a: &Item, b: &Item| match (text(a), text(b)) {
        (Some(a), Some(b)) => a.trim().eq_ignore_ascii_case(b.trim()),
        _ => same(a, b),
    };
    left.len() == right.len() && left.iter().all(|a| right.iter().any(|b| like(a, b)))
}

fn within(item: &[Item], all: &[Item]) -> Option<Option<bool>> {
    match item {
        [] => Some(None),
        [item] => Some(Some(all.iter().any(|other| same(item, other)))),
        _ => None,
    }
}

/// Whether two things are equal.
pub(super) fn same(a: &Item, b: &Item) -> bool {
    if let (Some(a), Some(b)) = (number_of(a), number_of(b)) {
        return a == b;
    }
    match (a, b) {
        (Item::Node(a), Item::Node(b)) => a.json == b.json && a.shadow == b.shadow,
        _ => match (boolean(a), boolean(b)) {
            (Some(a), Some(b)) => a == b,
            (None, None) => text(a).is_some_and(|a| text(b).is_some_and(|b| a == b)),
            _ => false,
        },
    }
}

/// Without repetitions. Texts go through a set: a CodeSystem has thousands of codes.
pub(super) fn distinct<'a>(items: Vec<Item<'a>>, scope: &Scope<'a>) -> Option<Vec<Item<'a>>> {
    let mut texts = std::collections::HashSet::new();
    let mut kept: Vec<Item> = Vec::new();
    for item in items {
        let new = match text(&item) {
            Some(text) => texts.insert(text),
            None => {
                scope.budget.spend(kept.len())?;
                !kept.iter().any(|other| same(&item, other))
            }
        };
        if new {
            kept.push(item);
        }
    }
    Some(kept)
}

/// Times of different precision that agree as far as they go have no order. FHIRPath gives nothing there; constraints are
/// to be true, and the reference validator takes a day and an instant of it for no `start <= end`.
fn compared(operator: Operator, left: &[Item], right: &[Item]) -> Option<Option<bool>> {
    let ([left], [right]) = (left, right) else {
        return (left.len() < 2 && right.len() < 2).then_some(None);
    };
    let order = order(left, right);
    if order.is_none() && is_time(left) && is_time(right) {
        return Some(Some(false));
    }
    Some(order.map(|order| match operator {
        Operator::Less => order == Ordering::Less,
        Operator::LessOrEqual => order != Ordering::Greater,
        Operator::Greater => order == Ordering::Greater,
        _ => order != Ordering::Less,
    }))
}

fn is_time(item: &Item) -> bool {
    matches!(item, Item::Node(Node { kind: "date" | "dateTime" | "instant" | "time", .. }))
}

fn order(a: &Item, b: &Item) -> Option<Ordering> {
    if let (Item::Node(a), Item::Node(b)) = (a, b)
        && a.is("Quantity")
        && b.is("Quantity")
    {
        return quantities(a.json, b.json);
    }
    match (number_of(a), number_of(b)) {
        (Some(a), Some(b)) => a.partial_cmp(&b),
        (None, None) => times(&text(a)?, &text(b)?),
        _ => None,
    }
}

/// Quantities of the same unit; others are not compared here.
fn quantities(a: &Json, b: &Json) -> Option<Ordering> {
    let unit = |q: &Json| q.text("code").or_else(|| q.text("unit")).map(str::to_owned);
    if unit(a) != unit(b) {
        return None;
    }
    let value = |q: &Json| match q.get("value") {
        Some(Json::Number(lexeme)) => lexeme.parse::<f64>().ok(),
        _ => None,
    };
    value(a)?.partial_cmp(&value(b)?)
}

/// Dates and times (FHIRPath N1 6.2).
fn times(a: &str, b: &str) -> Option<Ordering> {
    if let (Ok(a), Ok(b)) = (a.parse::<jiff::Timestamp>(), b.parse::<jiff::Timestamp>()) {
        return Some(a.cmp(&b));
    }
    let day = |text: &str| text.split('T').next().unwrap_or("").to_owned();
    let (short_a, short_b) = (day(a), day(b));
    let length = short_a.len().min(short_b.len());
    match short_a.get(..length)?.cmp(short_b.get(..length)?) {
        Ordering::Equal if a.len() != b.len() => None,
        order => Some(order),
    }
}

fn arithmetic<'a>(operator: Operator, left: &[Item<'a>], right: &[Item<'a>]) -> Option<Vec<Item<'a>>> {
    if operator == Operator::Plus
        && let ([Item::Text(_)], _) | (_, [Item::Text(_)]) = (left, right)
    {
        return Some(vec![joined(left, right)?]);
    }
    let (Some(a), Some(b)) = (number(left)?, number(right)?) else { return Some(Vec::new()) };
    let result = match operator {
        Operator::Plus => a + b,
        Operator::Subtract => a - b,
        Operator::Times => a * b,
        _ if b == 0.0 => return Some(Vec::new()),
        Operator::Divide => a / b,
        Operator::Div => (a / b).trunc(),
        _ => a % b,
    };
    Some(vec![Item::Number(result)])
}
