package io.glueconnect.cassandra;

import java.net.InetAddress;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.util.Arrays;
import java.util.Map;
import java.util.Set;
import org.apache.cassandra.auth.AuthenticatedUser;
import org.apache.cassandra.auth.IAuthenticator;
import org.apache.cassandra.auth.IResource;
import org.apache.cassandra.exceptions.AuthenticationException;

/**
 * Lets in whoever has the password that the launcher made: the node listens on loopback, where every user of the machine is. Clients
 * see plain user and password, as with Cassandra's own PasswordAuthenticator, without its table of roles and their slow hashes.
 */
public final class LocalAuthenticator implements IAuthenticator {
  private static final String USER = "cassandra";

  private final byte[] password = Node.setting("GLUE_CONNECT_CASSANDRA_PASSWORD", "").getBytes(StandardCharsets.UTF_8);

  /** Cassandra makes it, by name or with its parameters. */
  public LocalAuthenticator() {}

  public LocalAuthenticator(Map<String, String> ignored) {
    this();
  }

  @Override
  public boolean requireAuthentication() {
    return true;
  }

  @Override
  public Set<? extends IResource> protectedResources() {
    return Set.of();
  }

  @Override
  public void validateConfiguration() {
    if (password.length == 0) throw new IllegalStateException("GLUE_CONNECT_CASSANDRA_PASSWORD is not set");
  }

  @Override
  public void setup() {}

  @Override
  public SaslNegotiator newSaslNegotiator(InetAddress client) {
    return new Negotiator();
  }

  @Override
  public AuthenticatedUser legacyAuthenticate(Map<String, String> credentials) throws AuthenticationException {
    String given = credentials.getOrDefault("password", "");
    return user(credentials.getOrDefault("username", ""), given.getBytes(StandardCharsets.UTF_8));
  }

  private AuthenticatedUser user(String name, byte[] given) throws AuthenticationException {
    if (!USER.equals(name) || !MessageDigest.isEqual(password, given)) {
      throw new AuthenticationException("Provided username and/or password are incorrect");
    }
    Node.touch();
    // There is no table of roles to look anybody up in.
    return AuthenticatedUser.ANONYMOUS_USER;
  }

  /** SASL PLAIN: nothing, user, password, with a zero byte between them. */
  private final class Negotiator implements SaslNegotiator {
    private AuthenticatedUser user;

    @Override
    public byte[] evaluateResponse(byte[] response) throws AuthenticationException {
      int last = lastZero(response, response.length);
      int first = lastZero(response, last);
      if (first < 0) throw new AuthenticationException("User and password are expected");
      String name = new String(Arrays.copyOfRange(response, first + 1, last), StandardCharsets.UTF_8);
      user = user(name, Arrays.copyOfRange(response, last + 1, response.length));
      return null;
    }

    private int lastZero(byte[] bytes, int end) {
      for (int index = end - 1; index >= 0; index--) {
        if (bytes[index] == 0) return index;
      }
      return -1;
    }

    @Override
    public boolean isComplete() {
      return user != null;
    }

    @Override
    public AuthenticatedUser getAuthenticatedUser() throws AuthenticationException {
      if (user == null) throw new AuthenticationException("User and password are expected");
      return user;
    }
  }
}
