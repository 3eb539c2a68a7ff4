"""Bounds of RabbitMQ that its configuration does not know: how many connections one device may have.

RabbitMQ has limits per user only for users that it keeps itself; ours are the platform's, asked over HTTP. So a process inside
the broker looks once a second at who is connected, and ends the oldest connections of a name that has too many: a device that
comes back over a new network is let in. The platform's own user is no device: its name has no slash.
Source: erl(1), `-eval`; `rabbit_core_metrics` (table `connection_created`); `rabbit_reader:shutdown/2`, which asks the client to
close first and, asked again, ends the connection.
"""

DEVICE_CONNECTIONS = 10
DEVICE_CHANNELS = 4  # of each connection; RabbitMQ's own `channel_max`

PATH_VARIABLE = "IIOT_RABBITMQ_BOUNDS"
# RabbitMQ's script splits its arguments at spaces and hands quotes on as they are.
ERLANG_ARGUMENTS = f'-eval file:eval(os:getenv("{PATH_VARIABLE}"))'

BOUNDS = f"""\
spawn(fun() ->
    Device = fun(User) -> hd(binary:split(User, <<"~">>)) end,
    Note = fun({{Pid, Facts}}, Known) ->
        User = proplists:get_value(user, Facts, none),
        case is_binary(User) andalso binary:match(User, <<"/">>) =/= nomatch of
            true ->
                Since = {{proplists:get_value(connected_at, Facts, 0), Pid}},
                maps:update_with(Device(User), fun(Others) -> [Since | Others] end, [Since], Known);
            false -> Known
        end
    end,
    End = fun({{_, Pid}}) ->
        spawn(fun() -> rabbit_reader:shutdown(Pid, "more than {DEVICE_CONNECTIONS} connections of one device") end)
    end,
    Look = fun Again() ->
        timer:sleep(1000),
        catch maps:foreach(fun(_, Connections) ->
            lists:foreach(End, lists:nthtail({DEVICE_CONNECTIONS}, lists:reverse(lists:sort(Connections))))
        end, maps:filter(fun(_, Connections) -> length(Connections) > {DEVICE_CONNECTIONS} end,
            lists:foldl(Note, #{{}}, ets:tab2list(connection_created)))),
        erlang:garbage_collect(),
        Again()
    end,
    Look()
end).
"""
