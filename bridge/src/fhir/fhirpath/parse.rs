//! From words to an expression, by FHIRPath's precedence (N1, section 6.8).

use super::functions::Function;
use super::lex::{Token, tokens};
use super::{Expr, Operator};
use regex::Regex;

/// Operators by precedence, the loosest first. `is` and `as` stand between `|` and `+`.
const LEVELS: &[&[(&str, Operator)]] = &[
    &[("implies", Operator::Implies)],
    &[("or", Operator::Or), ("xor", Operator::Xor)],
    &[("and", Operator::And)],
    &[("in", Operator::In), ("contains", Operator::Contains)],
    &[("=", Operator::Equal), ("!=", Operator::NotEqual), ("~", Operator::Equivalent), ("!~", Operator::NotEquivalent)],
    &[("<=", Operator::LessOrEqual), (">=", Operator::GreaterOrEqual), ("<", Operator::Less), (">", Operator::Greater)],
    &[("|", Operator::Union)],
    &[],
    &[("+", Operator::Plus), ("-", Operator::Subtract), ("&", Operator::Join)],
    &[("*", Operator::Times), ("/", Operator::Divide), ("div", Operator::Div), ("mod", Operator::Mod)],
];
const TYPE_LEVEL: usize = 7;
/// The deepest nesting of brackets: those of the standard stay under 10.
const MAX_DEPTH: usize = 40;
/// The code system of units, `%ucum`.
const UCUM: &str = "http://unitsofmeasure.org";

/// Reads a whole expression.
pub fn expression(text: &str) -> Result<Expr, String> {
    let tokens = tokens(text)?;
    let mut parser = Parser { tokens, at: 0, depth: 0 };
    let expr = parser.whole()?;
    match parser.tokens.get(parser.at) {
        None => Ok(expr),
        Some(token) => Err(format!("{token:?} is not expected")),
    }
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
    depth: usize,
}

impl Parser {
    fn whole(&mut self) -> Result<Expr, String> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err("nested too deep".into());
        }
        let expr = self.level(0);
        self.depth -= 1;
        expr
    }

    fn level(&mut self, level: usize) -> Result<Expr, String> {
        let Some(operators) = LEVELS.get(level) else { return self.signed() };
        let mut left = self.level(level + 1)?;
        loop {
            if level == TYPE_LEVEL {
                let Some(next) = self.type_operator(&left)? else { return Ok(left) };
                left = next;
            } else {
                let Some(operator) = self.operator(operators) else { return Ok(left) };
                left = Expr::Binary(operator, Box::new(left), Box::new(self.level(level + 1)?));
            }
        }
    }

    fn operator(&mut self, among: &[(&str, Operator)]) -> Option<Operator> {
        let word = match self.tokens.get(self.at)? {
            Token::Name(name) => name.as_str(),
            Token::Sign(sign) => sign,
            _ => return None,
        };
        let found = among.iter().find(|(name, _)| *name == word)?.1;
        self.at += 1;
        Some(found)
    }

    fn type_operator(&mut self, left: &Expr) -> Result<Option<Expr>, String> {
        let make = match self.tokens.get(self.at) {
            Some(Token::Name(name)) if name == "is" => Expr::Is,
            Some(Token::Name(name)) if name == "as" => Expr::As,
            _ => return Ok(None),
        };
        self.at += 1;
        Ok(Some(make(Box::new(left.clone()), self.type_name()?)))
    }

    /// A type's name, with or without `FHIR.` or `System.`.
    fn type_name(&mut self) -> Result<String, String> {
        let name = self.name()?;
        if matches!(name.as_str(), "FHIR" | "System") && self.take(".") { self.name() } else { Ok(name) }
    }

    fn signed(&mut self) -> Result<Expr, String> {
        if self.take("-") {
            return Ok(Expr::Minus(Box::new(self.path()?)));
        }
        self.take("+");
        self.path()
    }

    fn path(&mut self) -> Result<Expr, String> {
        let mut expr = self.term()?;
        loop {
            if self.take(".") {
                let name = self.name()?;
                expr = if self.take("(") { self.call(expr, &name)? } else { Expr::Member(Box::new(expr), name) };
            } else if self.take("[") {
                let Some(Token::Number(index)) = self.next() else { return Err("an index is a number".into()) };
                self.need("]")?;
                expr = Expr::Index(Box::new(expr), index as usize);
            } else {
                return Ok(expr);
            }
        }
    }

    fn term(&mut self) -> Result<Expr, String> {
        match self.next() {
            Some(Token::Text(text)) => Ok(Expr::Text(text)),
            Some(Token::Number(number)) => Ok(Expr::Number(number)),
            Some(Token::Variable(name)) => variable(&name),
            Some(Token::Name(name)) => match name.as_str() {
                "true" => Ok(Expr::Bool(true)),
                "false" => Ok(Expr::Bool(false)),
                _ if self.take("(") => self.call(Expr::This, &name),
                _ => Ok(Expr::Name(name)),
            },
            Some(Token::Sign("(")) => {
                let expr = self.whole()?;
                self.need(")").map(|()| expr)
            }
            Some(Token::Sign("{")) => self.need("}").map(|()| Expr::Empty),
            other => Err(format!("{other:?} is not expected")),
        }
    }

    /// A function, after its opening bracket.
    fn call(&mut self, of: Expr, name: &str) -> Result<Expr, String> {
        let of = Box::new(of);
        if let "is" | "as" | "ofType" = name {
            let type_name = self.type_name()?;
            self.need(")")?;
            return Ok(if name == "is" { Expr::Is(of, type_name) } else { Expr::As(of, type_name) });
        }
        let mut arguments = Vec::new();
        while !self.take(")") {
            if !arguments.is_empty() {
                self.need(",")?;
            }
            arguments.push(self.whole()?);
        }
        match (name, arguments.as_slice()) {
            ("matches", [Expr::Text(pattern)]) => Ok(Expr::Matches(of, regex(pattern)?)),
            ("replaceMatches", [Expr::Text(pattern), Expr::Text(by)]) => {
                Ok(Expr::ReplaceMatches(of, regex(pattern)?, by.clone()))
            }
            _ => {
                let function = Function::named(name, arguments.len());
                let function = function.ok_or_else(|| format!("`{name}` with {} arguments", arguments.len()))?;
                Ok(Expr::Call(of, function, arguments))
            }
        }
    }

    fn next(&mut self) -> Option<Token> {
        let token = self.tokens.get(self.at).cloned();
        self.at += 1;
        token
    }

    fn name(&mut self) -> Result<String, String> {
        match self.next() {
            Some(Token::Name(name)) => Ok(name),
            other => Err(format!("a name is expected, not {other:?}")),
        }
    }

    fn take(&mut self, sign: &str) -> bool {
        let found = matches!(self.tokens.get(self.at), Some(Token::Sign(next)) if *next == sign);
        self.at += usize::from(found);
        found
    }

    fn need(&mut self, sign: &str) -> Result<(), String> {
        if self.take(sign) { Ok(()) } else { Err(format!("`{sign}` is missing")) }
    }
}

fn variable(name: &str) -> Result<Expr, String> {
    match name {
        "$this" => Ok(Expr::This),
        "%resource" => Ok(Expr::Resource),
        "%rootResource" => Ok(Expr::RootResource),
        "%context" => Ok(Expr::Context),
        "%ucum" => Ok(Expr::Text(UCUM.into())),
        _ => Err(format!("{name} is not known")),
    }
}

fn regex(pattern: &str) -> Result<Regex, String> {
    Regex::new(pattern).map_err(|_| "a regular expression that is not understood".to_owned())
}
