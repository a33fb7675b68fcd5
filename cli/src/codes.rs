//! The codes of diagnostics: the pages of docs/reference/codes, which the binary carries.

/// The page of a code, in Markdown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodePage {
    pub code: &'static str,
    pub text: &'static str,
}

macro_rules! pages {
    ($($code:ident)*) => {
        &[$(CodePage {
            code: stringify!($code),
            text: include_str!(concat!("../../docs/reference/codes/", stringify!($code), ".md")),
        }),*]
    };
}

/// All pages, in the order of their codes.
pub const PAGES: &[CodePage] = pages! {
    E0101 E0102 E0103 E0104 E0105 E0106 E0107 E0108 E0109 E0110 E0111 E0112 E0113
    E0201 E0202 E0203 E0204 E0205 E0206 E0207 E0208 E0209 E0210 E0211 E0212 E0213
    E0301 E0302 E0303 E0304 E0305 E0306 E0307 E0308 E0309 E0310 E0311 E0312 E0313 E0314 E0315
    E0316 E0317 E0318 E0319 E0320 E0321 E0322 E0323 E0324 E0325
    E0401 E0402 E0403 E0404 E0405 E0406 E0407 E0408 E0409 E0410 E0411 E0412 E0413 E0414 E0415
    E0416 E0417 E0418 E0419 E0420 E0424 E0425
    E0501 E0502 E0503 E0504 E0505 E0506 E0507 E0508 E0509 E0510 E0511
    E0601 E0602 E0603 E0604 E0605 E0606 E0607 E0608 E0609 E0610 E0611 E0612 E0613 E0614 E0615
    E0616 E0617 E0618 E0619 E0620 E0621 E0622 E0624 E0625 E0626 E0627 E0630
    E0701 E0702 E0703 E0704 E0790
    E0801 E0802
    E0901 E0902
    W0201 W0202 W0203 W0204 W0205 W0401 W0402 W0601 W0602 W0603 W0604 W0605 W0606 W0607
    W0608 W0609 W0610 W0611 W0615
};

impl CodePage {
    /// The page of a code, whose letter may be small. An error names the nearest codes.
    pub fn of(code: &str) -> Result<CodePage, String> {
        if let Some(page) = PAGES.iter().find(|page| page.code.eq_ignore_ascii_case(code)) {
            return Ok(*page);
        }
        let near = nearest(code);
        Err(match near.is_empty() {
            true => "a code is a letter and four digits, such as E0302; `din explain` lists all".into(),
            false => format!("there is no such code; near it are {}; `din explain` lists all", near.join(", ")),
        })
    }

    /// What stands behind the code in the heading.
    pub fn title(&self) -> &'static str {
        let heading = self.text.lines().next().and_then(|line| line.split_once(": "));
        heading.expect("a page begins with `# CODE: title`, as a test of the pages ensures").1
    }

    /// The page for a terminal: examples are indented, links are their text.
    pub fn plain(&self) -> String {
        let (mut out, mut example) = (String::new(), false);
        for line in self.text.lines() {
            if line.starts_with("```") {
                example = !example;
            } else if example {
                out += format!("    {line}").trim_end();
                out.push('\n');
            } else {
                out += &without_links(line.trim_start_matches("# "));
                out.push('\n');
            }
        }
        out
    }
}

/// The codes whose numbers are nearest to the digits of `text`, those of its letter first; none if
/// it has no digits.
fn nearest(text: &str) -> Vec<&'static str> {
    let digits: String = text.chars().filter(char::is_ascii_digit).take(9).collect();
    let Ok(number) = digits.parse::<i64>() else { return Vec::new() };
    let letter = text.chars().next().map(|c| c.to_ascii_uppercase()).filter(char::is_ascii_alphabetic);
    let key = |page: &CodePage| {
        let (first, rest) = page.code.split_at(1);
        let known: i64 = rest.parse().expect("a code is a letter and four digits");
        (letter.is_some_and(|l| !first.starts_with(l)), (known - number).abs())
    };
    let mut pages: Vec<&CodePage> = PAGES.iter().collect();
    pages.sort_by_key(|page| key(page));
    pages.iter().take(3).map(|page| page.code).collect()
}

/// `[text](target)` becomes `text`. No link of a page is broken over lines.
fn without_links(line: &str) -> String {
    let (mut out, mut rest) = (String::new(), line);
    while let Some((head, after)) = rest.split_once("](")
        && let Some((before, text)) = head.rsplit_once('[')
        && let Some((_, behind)) = after.split_once(')')
    {
        out += before;
        out += text;
        rest = behind;
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_found_whatever_their_case() {
        assert_eq!(CodePage::of("e0302").expect("a page").code, "E0302");
        assert!(CodePage::of("E0300").expect_err("no page").contains("E0301, E0302, E0303"));
        assert!(CodePage::of("302").expect_err("no page").contains("E0302"));
        assert!(CodePage::of("w0200").expect_err("no page").contains("W0201"));
        assert!(CodePage::of("shape").expect_err("no page").contains("such as E0302"));
    }

    #[test]
    fn pages_are_plain_on_a_terminal() {
        for page in PAGES {
            let plain = page.plain();
            assert!(plain.starts_with(&format!("{}: {}\n", page.code, page.title())), "{plain}");
            assert!(!plain.contains("```") && !plain.contains("]("), "{plain}");
        }
        assert_eq!(without_links("see [Axes](a.md#b), `[n]` and [C](c)."), "see Axes, `[n]` and C.");
    }
}
