//! A page that needs nothing else: the drawing, with a script that moves, zooms, folds and tells.

use super::parts::{Picture, PictureNode};
use super::svg::{drawing, escaped};

const PAGE: &str = include_str!("page.html");

/// The picture as a page.
pub fn html(picture: &Picture) -> String {
    let (body, width, height) = drawing(picture);
    let facts: Vec<String> = picture.nodes.iter().map(fact).collect();
    let sized = PAGE.replace("WIDTH", &format!("{width:.0}")).replace("HEIGHT", &format!("{height:.0}"));
    // Divided before anything of the spec is in it, of which nothing is to be replaced.
    let parts = ["MODEL", "BODY", "FACTS"].map(|place| (place, sized.find(place).expect("the page has its places")));
    let mut page = String::new();
    let mut from = 0;
    for ((place, at), text) in parts.into_iter().zip([escaped(&picture.model), body, format!("[{}]", facts.join(", "))])
    {
        page.push_str(&sized[from..at]);
        page.push_str(&text);
        from = at + place.len();
    }
    page.push_str(&sized[from..]);
    page
}

/// What is told of a node, as a literal of JavaScript.
fn fact(node: &PictureNode) -> String {
    let about: Vec<String> = [Some(node.kind.text().to_string()), Some(node.note()), node.axis.clone()]
        .into_iter()
        .flatten()
        .chain(node.docs.iter().cloned())
        .filter(|line| !line.is_empty())
        .map(|line| literal(&line))
        .collect();
    let (name, place) = (literal(&node.name), literal(&node.place));
    format!("{{ name: {name}, place: {place}, about: [{}] }}", about.join(", "))
}

/// A text of JavaScript that ends neither itself nor the script.
fn literal(text: &str) -> String {
    let mut safe = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' | '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                safe.push_str(&format!("\\u{:04x}", u32::from(c)))
            }
            c if c.is_control() => safe.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => safe.push(c),
        }
    }
    safe.push('"');
    safe
}
