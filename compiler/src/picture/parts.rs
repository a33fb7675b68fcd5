//! What a picture is made of.

/// What a node stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PictureKind {
    /// A `features` block.
    Features,
    /// A `sequence`.
    Sequence,
    /// A `let` or an `output`.
    Value,
    /// A `layer`, whose weights are shared by those that call it, or a `param`.
    Layer,
    /// What is predicted.
    Prediction,
}

impl PictureKind {
    /// A word for it.
    pub fn text(self) -> &'static str {
        match self {
            Self::Features => "features",
            Self::Sequence => "sequence",
            Self::Value => "value",
            Self::Layer => "layer",
            Self::Prediction => "prediction",
        }
    }
}

/// A member of the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PictureNode {
    /// As the spec names it.
    pub name: String,
    /// What it stands for.
    pub kind: PictureKind,
    /// Its fields with their tables, or its expression.
    pub lines: Vec<String>,
    /// Such as `[48]`, or `visited => [48]` of each entry; of a tensor.
    pub shape: Option<String>,
    /// How often there is one: `one per row`.
    pub axis: Option<String>,
    /// Weights outside of tables that are its own.
    pub weights: usize,
    /// Its doc comment.
    pub docs: Vec<String>,
    /// `file:line:column`
    pub place: String,
}

/// A model as nodes, each of which reads only nodes before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// The name of the model.
    pub model: String,
    /// Its members.
    pub nodes: Vec<PictureNode>,
    /// From what is read to what reads it, as indices of nodes; ascending by the latter.
    pub edges: Vec<(usize, usize)>,
}

impl PictureNode {
    /// The shape and the number of weights, where there are any.
    pub fn note(&self) -> String {
        let weights = match self.weights {
            0 => None,
            1 => Some("1 weight".to_string()),
            more => Some(format!("{} weights", grouped(more))),
        };
        let parts: Vec<String> = self.shape.clone().into_iter().chain(weights).collect();
        parts.join(" · ")
    }
}

/// A number in groups of three digits: `18,803`.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (k, digit) in digits.chars().enumerate() {
        if k > 0 && (digits.len() - k).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
