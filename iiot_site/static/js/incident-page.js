// The incident page: the metric that raised it, live. The rest of the page reads itself again (main.js).
import { ChartBox } from "iiot/chart-box.js";

const box = document.getElementById("chart");
if (box) new ChartBox(box);
