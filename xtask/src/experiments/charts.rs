//! Curves as SVG.

use plotters::prelude::*;
use std::ops::Range;

/// A line of a chart: its points, ascending by x, and how far each may lie from the truth.
#[derive(Clone, Debug, Default)]
pub struct Line {
    pub title: String,
    pub points: Vec<(f64, f64)>,
    /// A thin line: another quantity of the same series, which has the same colour.
    pub of: Option<usize>,
}

/// What a chart shows.
#[derive(Clone, Debug)]
pub struct Chart<'a> {
    pub title: &'a str,
    pub x: &'a str,
    pub y: &'a str,
}

/// Okabe and Ito's colours, which colour-blind readers can tell apart, without the yellow, which is
/// too light on white.
const COLOURS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(230, 159, 0),
    RGBColor(0, 0, 0),
];

const WIDTH: u32 = 760;
const HEIGHT: u32 = 420;

/// The least and the greatest, with a margin.
fn range(values: impl Iterator<Item = f64>, margin: f64) -> Range<f64> {
    let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), x| (low.min(x), high.max(x)));
    let wide = (high - low).max(1e-9) * margin;
    low - wide..high + wide
}

/// Draws lines over each other, with a legend beside them.
pub fn lines(chart: &Chart, lines: &[Line]) -> String {
    let mut svg = String::new();
    draw(&mut svg, chart, lines).expect("text takes any drawing");
    svg
}

fn draw(svg: &mut String, chart: &Chart, lines: &[Line]) -> Result<(), Box<dyn std::error::Error>> {
    let area = SVGBackend::with_string(svg, (WIDTH, HEIGHT)).into_drawing_area();
    area.fill(&WHITE)?;
    let (plot, legend) = area.split_horizontally(WIDTH - 220);
    let points = || lines.iter().flat_map(|line| &line.points);
    let (xs, ys) = (range(points().map(|p| p.0), 0.0), range(points().map(|p| p.1), 0.04));
    let mut axes = ChartBuilder::on(&plot)
        .caption(chart.title, ("sans-serif", 17))
        .margin(10)
        .x_label_area_size(40)
        .y_label_area_size(62)
        .build_cartesian_2d(xs, ys)?;
    axes.configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(BLACK.mix(0.12))
        .x_desc(chart.x)
        .y_desc(chart.y)
        .x_label_formatter(&|x| format!("{x}"))
        .y_label_formatter(&|y| format!("{y:.3}"))
        .label_style(("sans-serif", 12))
        .draw()?;
    for (k, line) in lines.iter().enumerate() {
        let colour = COLOURS[line.of.unwrap_or(k) % COLOURS.len()];
        let style = match line.of {
            None => colour.stroke_width(2),
            Some(_) => colour.mix(0.55).stroke_width(1),
        };
        axes.draw_series(LineSeries::new(line.points.iter().copied(), style))?;
        let y = 48 + 20 * k as i32;
        legend.draw(&PathElement::new([(4, y), (24, y)], style))?;
        legend.draw(&Text::new(line.title.clone(), (30, y - 6), ("sans-serif", 12)))?;
    }
    area.present()?;
    Ok(())
}
