# What runs in the guest of a rehearsal: a web server of the repository and of the pinned archive,
# and apt as its client. Only what perl-base has is used.
#
#     perl guest.pl TOKEN update          reads the indexes; asks apt what it would fetch
#     perl guest.pl TOKEN install NAME VERSION
#     perl guest.pl TOKEN upgrade NAME OLD VERSION
#
# What comes of it is told in lines of the token, a word and texts in hex; everything else that is
# printed does not count. What apt, dpkg and the packages' scripts print goes to files.

use strict;
use warnings;
use IO::Socket::INET;

my $port  = 8080;
my $here  = '/run/rehearsal';
my $lists = '/var/lib/apt/lists';
my %roots = ('repository' => '/run/repository', 'archive' => '/run/archive');

# The lists of the generation that clients read now are kept apart.
my @before = (
    '-o', "Dir::State::Lists=$lists.previous",
    '-o', 'Dir::Cache::pkgcache=previous.bin',
    '-o', 'Dir::Cache::srcpkgcache=srcprevious.bin',
);

my ($token, $mode, @words) = @ARGV;
$| = 1;

sub tell_host {
    my ($word, @texts) = @_;
    print join(' ', $token, $word, map { unpack('H*', "=$_") } @texts), "\n";
    return 0;
}

sub decoded {
    my ($path) = @_;
    $path =~ s/%([0-9A-Fa-f]{2})/chr(hex($1))/ge;
    return $path;
}

sub write_file {
    my ($path, $text, $how) = @_;
    open(my $file, $how // '>', $path) or die "cannot write $path: $!";
    print {$file} $text;
    close($file) or die "cannot write $path: $!";
}

sub read_file {
    my ($path, $most) = @_;
    open(my $file, '<:raw', $path) or return '';
    my $size = -s $file;
    # Of what is long the end tells most.
    seek($file, $size - $most, 0) if $size > $most;
    local $/;
    return <$file> // '';
}

# --- The server -----------------------------------------------------------------------------

sub place_of {
    my ($path) = @_;
    $path = decoded($path);
    return if $path =~ m{(^|/)\.\.(/|$)} || $path =~ /\0/;
    my ($root, $rest) = $path =~ m{^/(repository|archive)/(.+)$} or return;
    if ($root eq 'repository' && $rest =~ m{^dists/}) {
        $rest = 'generations/' . read_file('/tmp/live', 100) . "/$rest";
    }
    return "$roots{$root}/$rest";
}

sub converse {
    my ($client) = @_;
    binmode($client);
    local $/ = "\r\n\r\n";
    while (defined(my $head = <$client>)) {
        my ($method, $path) = $head =~ m{^(GET|HEAD) (/\S*) HTTP/1\.1\r\n} or last;
        my $place = place_of($path);
        my $file;
        if (!defined($place) || !-f $place || !open($file, '<:raw', $place)) {
            write_file('/tmp/missing', "$path\n", '>>') if $path !~ m{/dists/};
            print {$client} "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";
            $client->flush;
            next;
        }
        my $size = -s $file;
        print {$client} "HTTP/1.1 200 OK\r\nContent-Length: $size\r\n\r\n";
        $client->flush;
        next if $method eq 'HEAD';
        while (my $count = sysread($file, my $piece, 1 << 18)) {
            for (my $at = 0; $at < $count;) {
                my $sent = syswrite($client, $piece, $count - $at, $at) // return;
                $at += $sent;
            }
        }
    }
}

sub serve {
    my $socket = IO::Socket::INET->new(
        LocalAddr => '127.0.0.1',
        LocalPort => $port,
        Listen    => 64,
    ) or die "cannot listen: $!";
    my $child = fork() // die "cannot fork: $!";
    if ($child) {
        close($socket);
        return $child;
    }
    $SIG{CHLD} = 'IGNORE';
    $SIG{PIPE} = 'IGNORE';
    while (1) {
        my $client = $socket->accept or next;
        my $worker = fork();
        if (defined($worker) && !$worker) {
            close($socket);
            converse($client);
            exit(0);
        }
        close($client);
    }
}

# --- The client -----------------------------------------------------------------------------

# Whether a command succeeds, and what it prints.
sub run {
    my (@command) = @_;
    my $log = '/tmp/log';
    my $child = fork() // die "cannot fork: $!";
    if (!$child) {
        open(STDIN,  '<',  '/dev/null')  or exit(126);
        open(STDOUT, '>',  $log)         or exit(126);
        open(STDERR, '>&', \*STDOUT)     or exit(126);
        exec(@command) or exit(127);
    }
    waitpid($child, 0);
    return ($? == 0, read_file($log, 200_000));
}

sub apt { return run('apt-get', @_); }

# A version that dpkg has of a package, if it is wholly installed.
sub installed {
    my ($name) = @_;
    my ($found, $said) = run('dpkg-query', '-W', '-f', '${db:Status-Status} ${Version}\n', $name);
    return $found && $said =~ /^installed (\S+)$/m ? $1 : '';
}

# Tells what of the archive apt would fetch for all of these, and for which of them there is no way:
# if not all of them go together, for each half.
sub foresee {
    my ($options, $way, $none, @packages) = @_;
    return if !@packages;
    my @wanted = map { $_->[1] } @packages;
    my ($done, $said) = apt(@$options, '--print-uris', '--allow-downgrades', 'install', @wanted);
    if ($done) {
        for my $uri ($said =~ m{^'http://127\.0\.0\.1:$port/archive/([^']+)' }mg) {
            tell_host('need', decoded($uri));
        }
        tell_host($way, $_->[0]) for @packages;
    } elsif (@packages == 1) {
        tell_host($none, $packages[0][0], $said);
    } else {
        my @half = splice(@packages, 0, int(@packages / 2));
        foresee($options, $way, $none, @half);
        foresee($options, $way, $none, @packages);
    }
}

# Reads the indexes of the sources in a folder.
sub update {
    my ($folder, @options) = @_;
    my ($done, $said) = apt(
        @options, '-o', "Dir::Etc::SourceParts=$here/$folder", '-o', 'APT::Get::List-Cleanup=false',
        '-o', 'pkgCacheFile::Generate=false', 'update'
    );
    # Whatever apt forgives, it left something behind.
    $done = 0 if $said =~ /^(?:E: |W: (?:Failed|Some index|GPG|An error))/m;
    return ($done, $said);
}

# The staged Release files that apt did not take: it silently keeps a newer one.
sub not_taken {
    my $dists = '/run/repository/generations/staged/dists';
    my %have = map { read_file($_, 1 << 24) => 1 } glob("$lists/*_InRelease");
    my @suites = split(' ', read_file("$here/suites", 1 << 16));
    return grep { !$have{ read_file("$dists/$_/InRelease", 1 << 24) } } @suites;
}

sub update_all {
    mkdir($_) for '/var/lib/apt', $lists, "$lists/partial", "$lists.previous",
        "$lists.previous/partial", '/var/cache/apt', '/var/cache/apt/archives',
        '/var/cache/apt/archives/partial', '/usr/sbin', '/etc/apt', '/etc/apt/preferences.d';
    # Nothing may be started here.
    write_file('/usr/sbin/policy-rc.d', "#!/bin/sh\nexit 101\n");
    chmod(0755, '/usr/sbin/policy-rc.d');
    my ($done, $said);
    if (-d "$here/archive") {
        ($done, $said) = update('archive');
        return tell_host('archive', $said) if !$done;
    }
    my $has_previous = -d '/run/repository/generations/previous/dists';
    if ($has_previous) {
        write_file('/tmp/live', 'previous');
        ($done, $said) = update('repository');
        if ($done) {
            system('cp', '-a', '-T', $lists, "$lists.previous") == 0 or die 'cannot copy lists';
        } else {
            $has_previous = 0;
            tell_host('previous', $said);
            unlink(grep { !/:$port\_archive_/ } glob("$lists/*_*"));
        }
    }
    write_file('/tmp/live', 'staged');
    ($done, $said) = update('repository');
    return tell_host('update', $said) if !$done;
    my @stale = not_taken();
    return tell_host('stale', @stale) if @stale;
    tell_host('updated');
    foresee_all($has_previous) if -d "$here/archive";
}

sub foresee_all {
    my ($has_previous) = @_;
    # Once for all that follows.
    run('apt-cache', 'gencaches');
    run('apt-cache', @before, 'gencaches') if $has_previous;
    my (@new, @old);
    for my $line (split(/\n/, read_file("$here/packages", 1 << 26))) {
        my ($number, $name, $version, $old) = split(' ', $line);
        push(@new, [$number, "$name=$version"]);
        push(@old, [$number, "$name=$old"]) if $old ne '-' && $has_previous;
    }
    foresee([], 'solved', 'unsolvable', @new);
    foresee(\@before, 'before', 'unproven', @old);
}

# --- One package ----------------------------------------------------------------------------

sub put {
    my ($stage, $name, $version, @options) = @_;
    my @again = installed($name) eq $version ? ('--reinstall') : ();
    my ($done, $said) = apt(@options, '--allow-downgrades', @again, 'install', "$name=$version");
    return tell_host($stage, $said) if !$done;
    my $ours = qr{^Get:\d+ http://127\.0\.0\.1:$port/repository \S+ .*\b\Q$name\E .*\Q$version\E }m;
    return tell_host($stage, "$said\nE: apt takes it from elsewhere") if $said !~ $ours;
    my $found = installed($name);
    return tell_host($stage, "$said\nE: dpkg has version `$found` of it now") if $found ne $version;
    return is_clean($stage, $said);
}

sub is_clean {
    my ($stage, $said) = @_;
    my ($done, $audit) = run('dpkg', '--audit');
    return 1 if $done && $audit eq '';
    $audit =~ s/\s+/ /g;
    tell_host($stage, "$said\nE: dpkg --audit: $audit");
    return 0;
}

sub take_away {
    my ($name) = @_;
    my ($done, $said) =
        apt('--purge', '--auto-remove', '--allow-remove-essential', 'remove', $name);
    return tell_host('remove', $said) if !$done;
    return tell_host('remove', "$said\nE: it is still installed") if installed($name) ne '';
    is_clean('remove', $said) && tell_host('passed');
}

sub try_package {
    my ($name, @versions) = @_;
    my $version = pop(@versions);
    # Without what the root itself consists of nothing goes on.
    my $is_basic = installed($name) ne '';
    for my $old (@versions) {
        return if !put('unproven', $name, $old, @before);
    }
    my $stage = @versions ? 'upgrade' : 'install';
    return if !put($stage, $name, $version);
    return tell_host('passed') if $is_basic;
    take_away($name);
}

my $server = serve();
if ($mode eq 'update') {
    update_all();
} else {
    try_package(@words);
}
my %missing = map { $_ => 1 } split(/\n/, read_file('/tmp/missing', 1 << 20));
tell_host('need', $_) for map { decoded($_) =~ m{^/archive/(.+)} ? $1 : () } sort keys %missing;
kill('KILL', $server);
tell_host('done');
