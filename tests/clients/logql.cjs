// Says which of the LogQL expressions in argv[2], a JSON list, Grafana's grammar accepts.
const { parser } = require("@grafana/lezer-logql");

function accepted(expression) {
  let fine = true;
  parser.parse(expression).iterate({ enter: (node) => { if (node.type.isError) fine = false; } });
  return fine;
}

console.log(JSON.stringify(JSON.parse(process.argv[2]).map(accepted)));
