//! Search (R4 3.1.1): `table` knows the parameters, `value` finds their values in a resource, `query` reads what was asked,
//! `check` tests a resource exactly. Pure; what the index makes of it is in `index::blind`.

mod chain;
pub mod check;
pub mod criterion;
pub mod number;
pub mod query;
pub mod span;
pub mod table;
pub mod text;
pub mod value;
