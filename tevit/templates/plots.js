// Colours and layout of the plots, of the page's theme.
const color = (name) => getComputedStyle(document.documentElement).getPropertyValue('--' + name).trim();
function layout(extra) {
  const axis = { gridcolor: color('line'), zerolinecolor: color('line'), linecolor: color('line'), automargin: true,
    tickfont: { color: color('faint') }, title: { font: { color: color('faint'), size: 13 }, standoff: 8 } };
  const { xaxis = {}, yaxis = {}, ...rest } = extra;
  return { margin: { l: 46, r: 14, t: 10, b: 40 }, paper_bgcolor: 'rgba(0,0,0,0)', plot_bgcolor: 'rgba(0,0,0,0)',
    font: { family: getComputedStyle(document.body).fontFamily, size: 13, color: color('text') }, showlegend: false,
    legend: { orientation: 'h', y: 1.02, yanchor: 'bottom', x: 0, font: { color: color('text') } }, bargap: 0.35,
    hoverlabel: { bgcolor: color('card'), bordercolor: color('line'), font: { color: color('text') } },
    xaxis: { ...axis, ...xaxis, title: { ...axis.title, text: xaxis.title } },
    yaxis: { ...axis, ...yaxis, title: { ...axis.title, text: yaxis.title } }, ...rest };
}
