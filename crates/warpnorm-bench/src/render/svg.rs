//! Drawing, by `plotters`.

use super::Plot;
use crate::BenchError;
use plotters::backend::SVGBackend;
use plotters::chart::ChartBuilder;
use plotters::element::{Circle, PathElement, Text};
use plotters::prelude::{Color, IntoDrawingArea, IntoLogRange, RGBColor, WHITE};
use plotters::series::LineSeries;
use plotters::style::IntoFont;

/// Pixels.
const SIZE: (u32, u32) = (1200, 540);

/// Pixels of the legend's width, which is part of that.
const LEGEND: u32 = 320;

/// Colours that people who see few of them can tell apart, after Okabe and Ito, *Color Universal Design* (2008), and
/// darker ones of the same.
const COLOURS: [RGBColor; 12] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(90, 90, 90),
    RGBColor(0, 60, 100),
    RGBColor(120, 50, 0),
    RGBColor(0, 80, 60),
    RGBColor(110, 50, 90),
    RGBColor(130, 90, 0),
];

/// The plot as SVG: hidden sizes by their logarithm, values from 0. The numbers themselves are in its `metadata`.
///
/// # Errors
/// There is nothing to draw, or a number is not finite.
pub fn svg(plot: &Plot) -> Result<String, BenchError> {
    let points = || plot.series.iter().flat_map(|series| &series.points);
    if points().next().is_none() || points().any(|(hidden, value)| *hidden == 0 || !value.is_finite()) {
        return Err(BenchError::Plot(format!("{}: wanted finite values at sizes above 0", plot.name)));
    }
    let mut text = String::new();
    draw(plot, &mut text).map_err(BenchError::Plot)?;
    let json = serde_json::to_string(plot).map_err(|error| BenchError::Plot(error.to_string()))?;
    let escaped = json.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let end = text.rfind("</svg>").ok_or_else(|| BenchError::Plot("no end of the drawing".to_owned()))?;
    text.insert_str(end, &format!("<metadata>{escaped}</metadata>\n"));
    Ok(text)
}

fn draw(plot: &Plot, text: &mut String) -> Result<(), String> {
    let points = || plot.series.iter().flat_map(|series| &series.points);
    let hidden = || points().map(|(hidden, _)| *hidden as f64);
    let (least, most) = (hidden().fold(f64::MAX, f64::min), hidden().fold(0.0, f64::max));
    let top = points().map(|(_, value)| *value).fold(0.0, f64::max);
    let top = if top > 0.0 { 1.1 * top } else { 1.0 };

    let root = SVGBackend::with_string(text, SIZE).into_drawing_area();
    root.fill(&WHITE).map_err(|error| error.to_string())?;
    // Beside the lines, which a legend among them would hide.
    let (left, legend) = root.split_horizontally(SIZE.0 - LEGEND);
    let mut chart = ChartBuilder::on(&left)
        .caption(&plot.title, ("sans-serif", 20).into_font())
        .margin(12)
        .x_label_area_size(44)
        .y_label_area_size(64)
        .build_cartesian_2d((least / 1.2..most * 1.2).log_scale().base(2.0), 0.0..top)
        .map_err(|error| error.to_string())?;
    chart
        .configure_mesh()
        .x_desc("hidden size")
        .y_desc(&plot.label)
        .x_label_formatter(&|hidden| format!("{hidden:.0}"))
        .draw()
        .map_err(|error| error.to_string())?;
    for (place, (series, &colour)) in plot.series.iter().zip(COLOURS.iter().cycle()).enumerate() {
        let places = || series.points.iter().map(|(hidden, value)| (*hidden as f64, *value));
        chart.draw_series(LineSeries::new(places(), colour.stroke_width(2))).map_err(|error| error.to_string())?;
        let circles = places().map(|place| Circle::new(place, 3, colour.filled()));
        chart.draw_series(circles).map_err(|error| error.to_string())?;
        let y = 60 + 22 * place as i32;
        let line = PathElement::new([(0, y), (18, y)], colour.stroke_width(2));
        legend.draw(&line).map_err(|error| error.to_string())?;
        let name = Text::new(series.name.clone(), (26, y - 6), ("sans-serif", 13).into_font());
        legend.draw(&name).map_err(|error| error.to_string())?;
    }
    root.present().map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::{Series, plots};
    use crate::report::tests::{counted, timed};

    /// Centres of the circles, in the order in which they were drawn.
    fn circles(document: &roxmltree::Document<'_>) -> Vec<(f64, f64)> {
        let number = |node: &roxmltree::Node<'_, '_>, name| node.attribute(name).unwrap().parse::<f64>().unwrap();
        let all = document.descendants().filter(|node| node.has_tag_name("circle"));
        all.map(|node| (number(&node, "cx"), number(&node, "cy"))).collect()
    }

    /// Pixels are affine in the logarithm of the size and in the value: with the first and the last point of each
    /// axis known, all the others follow, to a pixel.
    fn check_places(values: &[f64], pixels: &[f64]) {
        let index = |better: fn(f64, f64) -> bool| {
            (0..values.len()).reduce(|best, one| if better(values[one], values[best]) { one } else { best }).unwrap()
        };
        let (low, high) = (index(|a, b| a < b), index(|a, b| a > b));
        if values[low] == values[high] {
            return;
        }
        let scale = (pixels[high] - pixels[low]) / (values[high] - values[low]);
        for (value, pixel) in values.iter().zip(pixels) {
            let wanted = pixels[low] + scale * (value - values[low]);
            assert!((pixel - wanted).abs() <= 1.5, "{value}: at {pixel}, wanted {wanted}");
        }
    }

    #[test]
    fn plots_are_well_formed_and_their_points_where_the_numbers_are() {
        for plot in plots(&timed()).into_iter().chain(plots(&counted())) {
            let text = svg(&plot).unwrap();
            let document = roxmltree::Document::parse(&text).unwrap();
            let places = circles(&document);
            let points: Vec<(u64, f64)> = plot.series.iter().flat_map(|series| series.points.clone()).collect();
            assert_eq!(places.len(), points.len());
            let hidden: Vec<f64> = points.iter().map(|(hidden, _)| (*hidden as f64).log2()).collect();
            let values: Vec<f64> = points.iter().map(|(_, value)| *value).collect();
            let x: Vec<f64> = places.iter().map(|(x, _)| *x).collect();
            let y: Vec<f64> = places.iter().map(|(_, y)| *y).collect();
            check_places(&hidden, &x);
            check_places(&values, &y);
            let metadata = document.descendants().find(|node| node.has_tag_name("metadata")).unwrap();
            assert_eq!(metadata.text().unwrap(), serde_json::to_string(&plot).unwrap());
            assert!(text.contains(&plot.title));
        }
    }

    #[test]
    fn names_that_xml_would_take_for_its_own_stay_names() {
        let series = vec![Series { name: "a<b>&c".to_owned(), points: vec![(64, 1.0), (128, 2.0)] }];
        let (name, title, label) = ("p".to_owned(), "<&>".to_owned(), "\"'".to_owned());
        let text = svg(&Plot { name, title, label, series }).unwrap();
        let document = roxmltree::Document::parse(&text).unwrap();
        assert!(document.descendants().any(|node| node.text().is_some_and(|text| text.trim() == "a<b>&c")));
    }

    #[test]
    fn what_cannot_be_drawn_is_refused() {
        let plot = |points: &[(u64, f64)]| Plot {
            name: "p".to_owned(),
            title: String::new(),
            label: String::new(),
            series: vec![Series { name: "s".to_owned(), points: points.to_vec() }],
        };
        for points in [&[][..], &[(64, f64::NAN)], &[(0, 1.0)], &[(64, f64::INFINITY)]] {
            assert!(svg(&plot(points)).is_err());
        }
        for points in [&[(64, 0.0)][..], &[(1, 1.0)], &[(64, 1.0), (128, 1.0)]] {
            roxmltree::Document::parse(&svg(&plot(points)).unwrap()).unwrap();
        }
    }
}
