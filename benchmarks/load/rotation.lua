-- Sends the bodies 0.json, 1.json, ... of a folder in rotation, and prints what was measured as one line of JSON.
-- Usage: wrk -t1 -c N -d Ns -s rotation.lua URL -- FOLDER COUNT
local requests = {}
local turn = 0

function init(args)
  for index = 0, tonumber(args[2]) - 1 do
    local file = assert(io.open(args[1] .. "/" .. index .. ".json", "rb"))
    local body = file:read("*a")
    file:close()
    requests[index + 1] = wrk.format("POST", nil, { ["Content-Type"] = "application/json" }, body)
  end
end

function request()
  turn = turn % #requests + 1
  return requests[turn]
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '\n{"requests":%d,"duration_us":%d,"p50_us":%d,"p99_us":%d,"max_us":%d,"bad_status":%d,"lost":%d}\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99), latency.max,
    errors.status, errors.connect + errors.read + errors.write + errors.timeout
  ))
end
