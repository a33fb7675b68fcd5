//! What a group says of its fields: their kinds, columns, what is missing, when they are known.

use super::{Docs, Expr, FieldPath, FileDecl, Ident};
use crate::span::Span;

/// `(keep last 100)`, `(keep first 20)`
#[derive(Clone, Debug, PartialEq)]
pub struct KeepDecl {
    pub last: bool,
    pub count: u64,
    pub span: Span,
}

/// `good_id: category from visited_good_ids`, `age: category(10)`, `tag: category of string`,
/// `price: number from log(price_in_cents) missing as 0 mark no_price`
#[derive(Clone, Debug, PartialEq)]
pub struct FeatureField {
    pub docs: Docs,
    pub name: Ident,
    pub kind: FeatureKindDecl,
    /// The column of the field's own name when absent.
    pub source: Option<FieldSource>,
    pub pooled: Option<PooledDecl>,
    pub missing: Option<MissingDecl>,
    /// The `after label` of a value that is known after the label only.
    pub after_label: Option<Span>,
    pub span: Span,
}

/// When the values of a group are known.
#[derive(Clone, Debug, PartialEq)]
pub enum KnownDecl {
    /// `after label`
    AfterLabel(Span),
    /// `known at clicked_at before shown_at`: columns of times.
    Before { times: Ident, moment: Ident, span: Span },
}

/// What stands after the `from` of a field.
#[derive(Clone, Debug, PartialEq)]
pub enum FieldSource {
    /// `from visited_good_ids`, `from "user age"`
    Column(Ident),
    /// `from log(1 + price)`: a call.
    Computed(Expr),
}

/// `missing`, `missing -1 as 0 mark no_income`: of a field, or of the lists of a sequence.
#[derive(Clone, Debug, PartialEq)]
pub struct MissingDecl {
    /// A value of the column that counts as missing, as a null does.
    pub value: Option<Expr>,
    /// The field's value where it is missing.
    pub replacement: Option<Expr>,
    /// A field that is 1 where it is missing, else 0.
    pub mark: Option<Ident>,
    pub span: Span,
}

/// `pooled by mean weighted by tag_weights`: a list whose vectors become one.
#[derive(Clone, Debug, PartialEq)]
pub struct PooledDecl {
    pub by: Ident,
    /// The column of the weights.
    pub weights: Option<Ident>,
    pub span: Span,
}

#[derive(Clone, Debug, PartialEq)]
pub struct FeatureKindDecl {
    pub kind: FeatureKindName,
    pub span: Span,
}

#[derive(Clone, Debug, PartialEq)]
pub enum FeatureKindName {
    /// `category`, `category(10)`, `category(10, clip)`, `category(1000, hash) of string`,
    /// `category of (user.gender, ad.cate_id)`, `category of string in "cities.txt"`
    Category { size: Option<Expr>, outside: OutsideDecl, of: Option<IdsDecl>, vocabulary: Option<FileDecl> },
    /// `number`, `number[4]`
    Number { width: Option<Expr> },
    /// Any other word: kept so that the checker can say what it knows.
    Other(Ident),
}

/// What becomes of an id that is none of the fixed number of categories.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutsideDecl {
    /// It is an error.
    Refused,
    /// `clip`: the nearest category.
    Clipped,
    /// `hash`: each id becomes a category by a hash.
    Hashed,
}

/// What stands after the `of` of a category.
#[derive(Clone, Debug, PartialEq)]
pub enum IdsDecl {
    /// `int64`, `string`
    Type(Ident),
    /// `(user.gender, ad.cate_id)`: each combination is an id.
    Tuple { fields: Vec<FieldPath>, span: Span },
}
